//! Intuit's SDKs for Node and for Python, their HTTP library replaced by an answer from memory.

use std::process::Command;

use serde_json::{Map, Value, json};

use crate::run::{output, room, say, words};

/// The runner of the project's commands has installed both, and says where Python is.
pub(crate) fn all() -> Result<Value, String> {
    let python = std::env::var("BENCH_PYTHON").map_err(|_| "BENCH_PYTHON names no Python")?;
    let sample = output(Command::new(room().join("target/release/ours")).arg("sample"))?;
    let mut all = Map::new();
    for (name, program, script) in
        [("node", "node", "node/bench.mjs"), ("python", python.as_str(), "python/bench.py")]
    {
        let mut both = Map::new();
        for (share, flag) in [("own", None), ("with-http", Some("--http"))] {
            say(&format!("script: {name}, {share}"));
            let mut command = Command::new(program);
            let out = output(command.arg(script).args(flag).env("BENCH_SAMPLE", sample.trim()))?;
            let mut times = Map::new();
            for line in words(&out) {
                if let [item, time] = line.as_slice() {
                    times.insert((*item).to_owned(), json!(time.parse::<u64>().unwrap_or_default()));
                }
            }
            both.insert(share.into(), Value::Object(times));
        }
        all.insert(name.into(), Value::Object(both));
    }
    Ok(Value::Object(all))
}
