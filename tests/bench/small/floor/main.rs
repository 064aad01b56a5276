//! The floor connects and refreshes: no library, no check but that of the state.

const STATE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, callback, first, second] = arguments.as_slice() else { return };
    let redirect = encoded("https://app.example.com/oauth/callback");
    println!(
        "https://appcenter.intuit.com/connect/oauth2?client_id=client&response_type=code\
         &scope=com.intuit.quickbooks.accounting%20openid&redirect_uri={redirect}&state={STATE}"
    );
    let parameter = |name: &str| {
        let query = callback.split_once('?').map_or("", |(_, query)| query);
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or("")
    };
    if parameter("state") != STATE {
        return;
    }
    let code = encoded(parameter("code"));
    println!(
        "authorization: Basic {}\ngrant_type=authorization_code&code={code}&redirect_uri={redirect}",
        base64(b"client:secret")
    );
    println!(
        "authorization: Basic {}\ngrant_type=refresh_token&refresh_token={}",
        base64(b"client:secret"),
        encoded(member(first, "\"refresh_token\":\""))
    );
    println!(
        "{{\"access\":\"{}\",\"refresh\":\"{}\",\"realm\":\"{}\",\"until\":{}}}",
        member(second, "\"access_token\":\""),
        member(second, "\"refresh_token\":\""),
        parameter("realmId"),
        1_800_003_600 + member(second, "\"expires_in\":").parse::<u64>().unwrap_or(0)
    );
}

fn member<'a>(answer: &'a str, start: &str) -> &'a str {
    let value = answer.split_once(start).map_or("", |(_, value)| value);
    value.split(['"', ',', '}']).next().unwrap_or("")
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
        }
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize]);
            out.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    out
}
