//! evergrant connects and refreshes: a callback and two answers in, a URL, two requests and a record out.

use evergrant::{App, Ask, Call, ClientSecret, Input, Keys, Provider, Received, Scopes, Session, Time};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, callback, first, second] = arguments.as_slice() else { return };
    if life(callback, first, second).is_err() {
        println!("refused");
    }
}

fn life(callback: &str, first: &str, second: &str) -> Result<(), Box<dyn std::error::Error>> {
    let app = App::new(
        &Provider::INTUIT_SANDBOX,
        Keys {
            client_id: "client",
            client_secret: ClientSecret::new("secret"),
            redirect_uris: &["https://app.example.com/oauth/callback"],
            further_scopes: &[],
            state_key: None,
        },
    )?;
    let now = Time::from_unix(1_800_000_000);
    let mut session: Session = Session::new(&app);
    let mut buffer = [0; 6144];
    let scopes = Scopes::ACCOUNTING.with(Scopes::OPENID);
    let ask = Ask { redirect_uri: "https://app.example.com/oauth/callback", scopes, random: [7; 64] };
    step(&app, &mut session, now, Input::Ask(ask))?;
    println!("{}", session.authorization_url(&app, &mut buffer)?);
    let call = step(&app, &mut session, now, Input::Callback { text: callback, binding: &[] })?;
    send(&app, &mut session, now, call, first)?;
    let later = now.plus(3_600);
    let call = step(&app, &mut session, later, Input::Demand)?;
    send(&app, &mut session, later, call, second)?;
    println!("{}", String::from_utf8_lossy(session.record(&app).write(&mut buffer)?));
    Ok(())
}

fn step(
    app: &App<'_>,
    session: &mut Session,
    now: Time,
    input: Input<'_>,
) -> Result<Option<Call>, evergrant::Error> {
    let effects = session.handle(app, now, input)?;
    if let Some(revision) = effects.store {
        let _ = session.handle(app, now, Input::Saved(revision))?;
    }
    Ok(effects.send)
}

fn send(
    app: &App<'_>,
    session: &mut Session,
    now: Time,
    call: Option<Call>,
    answer: &str,
) -> Result<(), evergrant::Error> {
    let Some(call) = call else { return Ok(()) };
    let mut buffer = [0; 2048];
    let http = session.request(app, call)?.write(&mut buffer)?;
    http.headers().for_each(|(name, value)| println!("{name}: {value}"));
    println!("{}", http.body());
    let received =
        Received::Answer { status: 200, retry_after: None, correlation: None, body: answer.as_bytes() };
    step(app, session, now, Input::Answer(call, received)).map(|_| ())
}
