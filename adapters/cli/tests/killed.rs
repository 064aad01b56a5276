//! `evergrant refresh`, killed at any moment: the grant is alive after each.

mod support;

use std::time::Duration;

use support::{Home, emulator, said};

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
    let began = std::time::Instant::now();
    home.expect(0, &["refresh"]);
    let whole = began.elapsed().as_micros() as u64;
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
    assert!(killed > 20 && in_flight > 0, "the kills missed");
    home.expect(0, &["call", support::REALM, "companyinfo/{realm}"]);
}
