//! `evergrant refresh`, killed at any moment: the grant is alive after each.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use support::{Home, emulator, follow, said};

/// What is random here is printed, so that a failure can be looked into.
struct Dice(u64);

impl Dice {
    fn thrown() -> Self {
        let seed = getrandom::u64().unwrap() | 1;
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn timed(home: &Home) -> u64 {
    let began = std::time::Instant::now();
    home.expect(0, &["refresh"]);
    began.elapsed().as_micros().try_into().unwrap()
}

/// STA-4, REF-1, I1, I2: whatever was lost, the record says what was about to be sent, the next one takes the dead
/// process's lease over at once, and the grace brings the grant back.
#[test]
fn a_grant_outlives_fifty_kills() {
    let emulator = emulator();
    let home = Home::connected(&emulator);
    // The work takes a moment on either side, so that kills fall before it, after it, and while it is answered.
    for before in ["true", "false"] {
        emulator.tell(
            "faults",
            &format!(r#"{{"at":"refresh","when":"always","harm":{{"delay":{{"milliseconds":10,"before_work":{before}}}}}}}"#),
        );
    }
    // The shortest of a few: the first one has more to load.
    let whole = (0..4).map(|_| timed(&home)).min().unwrap();
    let mut dice = Dice::thrown();
    let (mut killed, mut in_flight) = (0, 0);
    for round in 0..50 {
        let before = emulator.refreshes().len();
        let mut child = home.command(&["refresh"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(whole)));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        killed += u32::from(!output.status.success());
        in_flight += u32::from(!output.status.success() && emulator.refreshes().len() > before);
        assert!(emulator.grant_is_alive(), "round {round}: {}", said(&output));
        let text = home.expect(0, &["refresh"]);
        assert!(text.contains("refreshed"), "round {round}: {text}");
    }
    println!(
        "{killed} killed, {in_flight} of them after the request had left; a whole refresh takes {whole} µs"
    );
    assert!(killed > 10 && in_flight > 0, "the kills missed");
    home.expect(0, &["call", support::REALM, "companyinfo/{realm}"]);
}

/// EXC-1, I1: whatever a crash interrupts, no code is exchanged a second time, and the next consent works.
#[test]
fn no_code_is_sent_twice_whatever_a_kill_interrupts() {
    let emulator = emulator();
    let home = Home::new(&emulator, "http://localhost:8000/callback");
    let mut dice = Dice::thrown();
    let (mut killed, mut spent) = (0, 0);
    for round in 0..20 {
        let mut child = home.command(&["connect", "--no-browser"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
        let callback = follow(url.trim());
        writeln!(child.stdin.take().unwrap(), "{callback}").unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(30_000)));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        // The next command finishes what can be finished; the same callback again is not sent.
        home.expect(0, &["status"]);
        let mut again = home.command(&["connect", "--no-browser"]).stdin(Stdio::piped()).spawn().unwrap();
        writeln!(again.stdin.take().unwrap(), "{callback}").unwrap();
        let output = again.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3), "round {round}: {}", said(&output));
        let grants = emulator.control("grants");
        let codes: Vec<_> =
            grants["grants"].as_array().unwrap().iter().map(|grant| grant["code"].clone()).collect();
        assert!(codes.iter().all(|code| code != "used_twice"), "round {round}: {codes:?}");
        spent = codes.iter().filter(|code| *code == "used").count();
    }
    println!("{killed} killed, {spent} codes had been sent by then");
    let (_, output) = home.connect(&[]);
    assert!(output.status.success(), "{}", said(&output));
    home.expect(0, &["refresh"]);
    assert!(emulator.grant_is_alive());
}
