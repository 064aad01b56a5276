//! The guide's page, from the results.

use std::fmt::Write as _;

use serde_json::Value;

const CONTESTANTS: [&str; 7] =
    ["evergrant", "oauth2", "openidconnect", "huskarl", "glue", "floor", "floor-ready"];

const ITEMS: [(&str, &str); 16] = [
    ("url", "authorization URL, state given"),
    ("url-signed", "the same, state signed"),
    ("url-pkce", "the same, with PKCE"),
    ("callback", "callback parsed and judged"),
    ("exchange-request", "exchange request built"),
    ("refresh-request", "refresh request built"),
    ("answer", "answer of 1,165 bytes read"),
    ("answer-openid", "answer of 2,280 bytes read"),
    ("fresh", "fresh? and its header"),
    ("connect", "**connect**"),
    ("refresh", "**refresh**"),
    ("refresh-intent", "refresh, its intent written too"),
    ("record-write", "record written"),
    ("record-read", "record read"),
    ("kernel", "kernel, the four steps of a refresh"),
    ("revoke", "revoke"),
];

pub(crate) fn written(results: &Value) -> String {
    let mut out = String::new();
    head(&mut out, &results["machine"]);
    instructions(&mut out, results);
    aims(&mut out, results);
    table(
        &mut out,
        "Time",
        "Nanoseconds per item, Criterion's median; the machine is shared, so the instructions are the figures to quote.",
        |item, name| number(&results["time"][item][name]).map(thousands),
    );
    table(&mut out, "Allocations", "How many, and their bytes.", |item, name| {
        let weight = &results["memory"]["items"][item][name];
        Some(format!("{} ({})", number(&weight["allocations"])?, thousands(number(&weight["bytes"])?)))
    });
    table(&mut out, "Stack", "Deepest use of a painted stack, in bytes.", |item, name| {
        number(&results["memory"]["items"][item][name]["stack"]).map(thousands)
    });
    programs(&mut out, &results["programs"]);
    held(&mut out, results);
    flat(&mut out, &results["flat"]);
    scripts(&mut out, results);
    out.push_str(NOTES);
    out
}

fn head(out: &mut String, machine: &Value) {
    let text = |name: &str| machine[name].as_str().unwrap_or_default();
    let versions: Vec<_> =
        machine["versions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let _ = writeln!(
        out,
        "What evergrant costs, beside what else one would take.\n\n\
         Measured on {}: {}, {} cores, {}; {}; {}; {}. Written by `cargo xtask bench`; do not edit.\n\n\
         The same work for all, on one sample of Intuit's sizes: an access token of 1,000 characters, a refresh token of 50, two\n\
         scopes, random bytes and the time handed in, the answer as the HTTP library would hand it over. What comes of it is\n\
         checked to be the same. *Glue* is url, serde_json and base64 by hand. The *floor* is the least any program must do,\n\
         without escapes, errors or wiping, and *floor, ready* the same with all that never changes encoded once and the memchr\n\
         crate's search. Where a contestant has no way to do an item, its cell is empty.\n",
        text("date"),
        text("processor"),
        machine["cores"],
        text("system"),
        text("rustc"),
        text("valgrind"),
        versions.join(", ")
    );
}

fn instructions(out: &mut String, results: &Value) {
    let all = &results["instructions"];
    let _ = writeln!(
        out,
        "# Instructions\n\nBy callgrind, optimised builds.\n\n\
         | item | evergrant | oauth2 | openidconnect | huskarl | glue | floor | floor, ready | of oauth2 | of glue | of floor |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    );
    for (item, title) in ITEMS {
        let row = &all[item];
        let _ = write!(out, "| {title} |");
        for name in CONTESTANTS {
            let _ = write!(out, " {} |", number(&row[name]).map(thousands).unwrap_or_default());
        }
        for name in ["oauth2", "glue", "floor"] {
            let _ =
                write!(out, " {} |", ratio(row, name).map(|ratio| format!("{ratio:.2}")).unwrap_or_default());
        }
        out.push('\n');
    }
    out.push('\n');
}

fn ratio(row: &Value, name: &str) -> Option<f64> {
    Some(row["evergrant"].as_f64()? / row[name].as_f64()?)
}

fn aims(out: &mut String, results: &Value) {
    let _ = writeln!(out, "# Aims\n\n| aim | measured | |\n| --- | --- | --- |");
    let all = &results["instructions"];
    let mut missed = Vec::new();
    let mut line = |aim: &str, measured: String, reached: bool| {
        let verdict = if reached { "reached" } else { "**not reached**" };
        let _ = writeln!(out, "| {aim} | {measured} | {verdict} |");
        if !reached {
            missed.push(aim.to_owned());
        }
    };
    for item in ["connect", "refresh"] {
        let (oauth2, floor) = (ratio(&all[item], "oauth2"), ratio(&all[item], "floor"));
        let (oauth2, floor) = (oauth2.unwrap_or(f64::MAX), floor.unwrap_or(f64::MAX));
        line(&format!("{item}: a third of oauth2 at most"), format!("{oauth2:.2}"), oauth2 <= 1.0 / 3.0);
        line(&format!("{item}: 1.3 times the floor at most"), format!("{floor:.2}"), floor <= 1.3);
    }
    for (item, title) in ITEMS {
        if let Some(glue) = ratio(&all[item], "glue") {
            line(&format!("{title}: half of glue at most"), format!("{glue:.2}"), glue <= 0.5);
        }
    }
    let memory = &results["memory"]["items"];
    let most = |what: &str| {
        let found = ITEMS.iter().filter_map(|(item, _)| number(&memory[item]["evergrant"][what]));
        found.max().unwrap_or(u64::MAX)
    };
    let allocations = most("allocations");
    line("no allocation in core", allocations.to_string(), allocations == 0);
    let deep: Vec<_> = ITEMS
        .iter()
        .filter_map(|(item, title)| Some((title, number(&memory[item]["evergrant"]["stack"])?)))
        .filter(|(_, stack)| *stack > 1_024)
        .map(|(title, stack)| format!("{title} {}", thousands(stack)))
        .collect();
    let shown = if deep.is_empty() { thousands(most("stack")) } else { deep.join(", ") };
    line("stack of any call: 1,024 bytes at most", shown, deep.is_empty());
    // The sample's tokens have 1,050 bytes.
    if let Some(record) = number(&results["flat"]["young-record-bytes"]) {
        let beyond = record.saturating_sub(1_050);
        line("record: its token bytes + 160 at most", format!("+ {beyond}"), beyond <= 160);
    }
    let programs = &results["programs"];
    if let Some(crates) = number(&programs["evergrant"]["crates"]) {
        let crates = crates.saturating_sub(1);
        line("crates that core stands on: 20 at most", crates.to_string(), crates <= 20);
        let text = beyond_empty(programs, "evergrant") / beyond_empty(programs, "oauth2");
        line("text: a tenth of oauth2's at most", format!("{text:.2}"), text <= 0.1);
        let build = |name: &str| programs[name]["build-ms"].as_f64().unwrap_or(f64::MAX);
        let build = build("evergrant") / build("oauth2");
        line("build from nothing: a sixth of oauth2's at most", format!("{build:.2}"), build <= 1.0 / 6.0);
    }
    let beside = results["keeper"]["beside-its-token"].as_f64().unwrap_or(f64::MAX);
    line("a grant in the keeper: its token bytes + 96 at most", format!("+ {beside}"), beside <= 96.0);
    out.push('\n');
    whys(out, &missed);
}

/// Why, for each aim that was missed.
fn whys(out: &mut String, missed: &[String]) {
    if missed.is_empty() {
        return;
    }
    let _ = writeln!(out, "# Why an aim was missed\n");
    for aim in missed {
        let why = WHYS.iter().find(|(start, _)| aim.starts_with(start)).map_or("not known", |(_, why)| why);
        let _ = writeln!(out, "- *{aim}*: {why}");
    }
    out.push('\n');
}

/// Aims by how they begin, and what stands in their way.
const WHYS: [(&str, &str); 14] = [
    (
        "connect: 1.3 times the floor",
        "the floor checks nothing. The rest is the state compared in constant time, realm, issuer and address judged, the answer read \
         member by member and judged, the phase stepped, and what is replaced wiped.",
    ),
    (
        "refresh: 1.3 times the floor",
        "as for connect; and the record is a third of it, for it says everything that a restart must know, and carries a sum.",
    ),
    (
        "the same, state signed",
        "it is SHA-256: the floor alone, a bare HMAC and nothing else, needs more than half of what glue does.",
    ),
    ("the same, with PKCE", "SHA-256 again: the floor is 0.40 of glue."),
    (
        "callback parsed and judged",
        "glue compares the state and is done. Here the realm, the issuer and the address are judged as well, the code is copied and the exchange \
         begun, with the phase that is to be stored before it leaves.",
    ),
    (
        "answer of",
        "the floor is 0.53 of glue. The text is looked at twice, once by the scanner and once for characters that no header may hold, \
         and the tokens that were there are wiped.",
    ),
    (
        "fresh? and its header",
        "two passes for UTF-8 over 1,000 bytes, one for the token and one for the header: bytes do not become text without one where no \
         `unsafe` is allowed.",
    ),
    ("**connect**", "see above."),
    ("**refresh**", "see above."),
    (
        "record read",
        "the sum over all of it, its characters checked, the phase read number by number, and the session filled in place.",
    ),
    (
        "revoke",
        "the refresh token leaves with a phase that is stored first and judged by its answer; glue sends, and forgets.",
    ),
    (
        "stack of any call",
        "a step keeps the phase before and the one that it becomes, 92 bytes each, and the session's frames hold an answer's members or a callback's, \
         a decoded state, and SHA-256's schedule. Each input has a frame of its own now; to go below, the members \
         would have to be handed on one by one.",
    ),
    (
        "text: a tenth",
        "oauth2's text is mostly the HTTP types, `url` and `serde` that it brings. What is left here is the state machine with its 49 rules, the \
         texts of its errors, and SHA-256.",
    ),
    (
        "build from nothing",
        "what is left are 17 small crates, SHA-256 with its generic arrays among them, and this one.",
    ),
];

fn table(out: &mut String, title: &str, about: &str, cell: impl Fn(&str, &str) -> Option<String>) {
    let _ = writeln!(
        out,
        "# {title}\n\n{about}\n\n\
         | item | evergrant | oauth2 | openidconnect | huskarl | glue | floor | floor, ready |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: |"
    );
    for (item, title) in ITEMS {
        let _ = write!(out, "| {title} |");
        for name in CONTESTANTS {
            let _ = write!(out, " {} |", cell(item, name).unwrap_or_default());
        }
        out.push('\n');
    }
    out.push('\n');
}

fn beyond_empty(programs: &Value, name: &str) -> f64 {
    let text = |name: &str| programs[name]["text"].as_f64().unwrap_or_default();
    text(name) - text("empty")
}

fn programs(out: &mut String, programs: &Value) {
    let _ = writeln!(
        out,
        "# Programs\n\nThe least program that connects and refreshes. Text beyond that of a program that only prints its arguments\n\
         (opt-level z, LTO); crates that it stands on, those that only build among them; a default release build from nothing,\n\
         everything fetched, in seconds.\n\n\
         | | text | crates | build |\n| --- | --: | --: | --: |"
    );
    for name in ["evergrant", "oauth2", "openidconnect", "huskarl", "glue", "floor"] {
        let seconds = programs[name]["build-ms"].as_f64().unwrap_or_default() / 1_000.0;
        let crates = &programs[name]["crates"];
        let text = thousands(beyond_empty(programs, name) as u64);
        let _ = writeln!(out, "| {name} | {text} | {crates} | {seconds:.1} |");
    }
    out.push('\n');
}

fn held(out: &mut String, results: &Value) {
    let held = |name: &str| number(&results["memory"]["held"][name]).map(thousands).unwrap_or_default();
    let _ = writeln!(
        out,
        "# A grant in memory\n\n| | bytes |\n| --- | --: |\n\
         | `Session`, its buffers in it | {} |\n\
         | `Session<1280, 128, 128>`, its buffers in it | {} |\n\
         | a session beyond its buffers | {} |\n\
         | oauth2's token response, beyond its token bytes | {} |\n",
        held("session-default"),
        held("session-device"),
        held("session-beyond-buffers"),
        held("oauth2-response"),
    );
}

fn flat(out: &mut String, flat: &Value) {
    let of = |name: &str| number(&flat[name]).map(thousands).unwrap_or_default();
    let _ = writeln!(
        out,
        "# With age\n\n| one session | young | after a million refreshes |\n| --- | --: | --: |\n\
         | refresh, instructions | {} | {} |\n\
         | record written, instructions | {} | {} |\n\
         | refresh, ns | {} | {} |\n\
         | record, bytes | {} | {} |\n\n\
         Its counters have more digits by then; nothing else has grown.\n\n\
         | a vault (SQLite, in a file in memory) of | 1,000 | 100,000 | 1,000,000 grants |\n| --- | --: | --: | --: |\n\
         | claim and commit, instructions | {} | {} | {} |\n\
         | claim and commit, median ns | {} | {} | {} |\n\n\
         The vault's file has {} bytes for each grant.\n",
        of("young-instructions"),
        of("aged-instructions"),
        of("young-record-instructions"),
        of("aged-record-instructions"),
        of("early-ns"),
        of("late-ns"),
        of("young-record-bytes"),
        of("aged-record-bytes"),
        of("vault-1000-instructions"),
        of("vault-100000-instructions"),
        of("vault-1000000-instructions"),
        of("vault-1000"),
        of("vault-100000"),
        of("vault-1000000"),
        of("vault-bytes-per-grant"),
    );
}

fn scripts(out: &mut String, results: &Value) {
    let _ = writeln!(
        out,
        "# Intuit's SDKs for Node and Python\n\nNanoseconds per item, warm. *Own*: its HTTP library replaced by a function that hands over the parsed answer.\n\
         *With HTTP*: that library at work, its transport an answer from memory.\n\n\
         | item | evergrant | Node, own | Node, with HTTP | Python, own | Python, with HTTP |\n| --- | --: | --: | --: | --: | --: |"
    );
    for item in ["url", "connect", "refresh"] {
        let ours = number(&results["time"][item]["evergrant"]).map(thousands).unwrap_or_default();
        let _ = write!(out, "| {item} | {ours} |");
        for name in ["node", "python"] {
            for share in ["own", "with-http"] {
                let time = number(&results["scripts"][name][share][item]).map(thousands);
                let _ = write!(out, " {} |", time.unwrap_or_default());
            }
        }
        out.push('\n');
    }
    out.push('\n');
}

const NOTES: &str = "# What is not alike

- evergrant checks what the others leave to their user: the redirect URI, the realm, the answer's size and shape, the order
  of things; it wipes what it replaces. None of that was left out for the measurement.
- *refresh* has one record for all. evergrant's contract asks for a second one before the request leaves, without which a
  crash loses the grant; *refresh, its intent written too* has both.
- Its signed state covers more than that of the others, which share one written by hand, and it can be opened again.
- oauth2 and openidconnect revoke as RFC 7009 has it, by a form; Intuit wants JSON.
- huskarl draws its own random values, which is in its figures, and would verify an ID token, which is not.
- openidconnect decodes an ID token when it reads the answer; the others keep its text, and evergrant leaves it to its
  adapter.
- The floor that stands ready encodes nothing that never changes; none of the others does so.
";

fn number(value: &Value) -> Option<u64> {
    value.as_u64()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
