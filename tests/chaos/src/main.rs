//! `cargo run --release -p chaos -- --store sqlite --refreshes 1000000 --seed 1 --client all`

use std::path::Path;
use std::process::ExitCode;

use chaos::run::{self, Plan};
use chaos::script::Script;
use chaos::server::Ground;
use chaos::{Start, report, worker};

const USAGE: &str = "\
Usage: chaos [--store sqlite|postgres] [--client NAME|all] [--refreshes N] [--baseline-refreshes N] [--seed N]
             [--first N] [--grants N] [--workers N] [--fleets N] [--reductions N]
       chaos … --episode N [--harms TEXT] [--times N]   one episode, and what happened in it

  --client       keeper, no-lock, timed-lock, compare-and-swap, delete-on-invalid-grant, huskarl, intuit-oauth; or all
  --grants       grants in one store, which are refused together in an outage; more than one for the keeper alone (1; all: 1, then 4)
  --refreshes    until the authority has judged so many (10000)
  --baseline-refreshes   the same for all but the keeper; what --refreshes says where it is not given
  --first        the number of the first episode (0)
  --times        the episode is lived again until the grant is lost, so many times at most (1)
  --reductions   losses that are reduced to the fewest harms, for each client (3)

Ends with failure where the keeper lost a grant that could have been kept.
";

/// Every client, and how many grants a store of its holds, in the order of the table.
const CLIENTS: [(&str, usize); 8] = [
    ("keeper", 1),
    ("keeper", 4),
    ("no-lock", 1),
    ("timed-lock", 1),
    ("compare-and-swap", 1),
    ("delete-on-invalid-grant", 1),
    ("huskarl", 1),
    ("intuit-oauth", 1),
];

fn is_ours(client: &str) -> bool {
    client == "keeper"
}

struct Asked(Vec<(String, String)>);

impl Asked {
    fn read(words: &[String]) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for pair in words.chunks(2) {
            match pair {
                [name, value] if name.starts_with("--") => {
                    pairs.push((name.trim_start_matches('-').to_owned(), value.clone()));
                }
                _ => return Err(USAGE.into()),
            }
        }
        const NAMES: [&str; 16] = [
            "store",
            "folder",
            "client",
            "refreshes",
            "baseline-refreshes",
            "seed",
            "workers",
            "fleets",
            "reductions",
            "episode",
            "harms",
            "grants",
            "times",
            "schema",
            "authority",
            "first",
        ];
        match pairs.iter().find(|(name, _)| !NAMES.contains(&name.as_str())) {
            Some((name, _)) => Err(format!("there is no option --{name}\n\n{USAGE}")),
            None => Ok(Self(pairs)),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, otherwise: u64) -> Result<u64, String> {
        let Some(text) = self.text(name) else { return Ok(otherwise) };
        text.parse().map_err(|_| format!("--{name} {text} is no number"))
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((word, rest)) if word == "worker" => serve(rest).map(|()| true),
        _ => harm(&words),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            report::note(&why);
            ExitCode::FAILURE
        }
    }
}

fn serve(words: &[String]) -> Result<(), String> {
    let asked = Asked::read(words)?;
    let need = |name| asked.text(name).ok_or_else(|| format!("a worker needs --{name}"));
    let folder = Path::new(need("folder")?);
    worker::serve(need("client")?, need("store")?, folder, need("schema")?, need("authority")?)
}

fn harm(words: &[String]) -> Result<bool, String> {
    let asked = Asked::read(words)?;
    let store = asked.text("store").unwrap_or("sqlite");
    let client = asked.text("client").unwrap_or("keeper");
    let grants = asked.number("grants", 1)?.max(1) as usize;
    if grants > 1 && !is_ours(client) {
        return Err(format!("a store of {client} holds one grant here; only the keeper's holds several"));
    }
    let clients = if client == "all" { CLIENTS.to_vec() } else { vec![(client, grants)] };
    if let Some(number) = asked.text("episode") {
        let number = number.parse().map_err(|_| format!("--episode {number} is no number"))?;
        return episode(&asked, store, client, grants, number);
    }
    let mut reports = Vec::new();
    for (client, grants) in clients {
        let ground = Ground::new(store)?;
        let plan = plan(&asked, &ground, client, grants)?;
        let report = run::all(&plan)?;
        reports.push(report);
    }
    println!("{}", report::table(&reports));
    Ok(reports.iter().all(|report| !is_ours(&report.client) || report.faults() == 0))
}

fn plan(asked: &Asked, ground: &Ground, client: &str, grants: usize) -> Result<Plan, String> {
    let program = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let refreshes = asked.number("refreshes", 10_000)?;
    let baseline = asked.number("baseline-refreshes", refreshes)?;
    Ok(Plan {
        start: Start {
            program,
            client: client.into(),
            store: ground.address.clone(),
            schema: format!("chaos_{}", std::process::id()),
            folder: ground.folder().into(),
            node: concat!(env!("CARGO_MANIFEST_DIR"), "/node").into(),
        },
        seed: asked.number("seed", 1)?,
        refreshes: if is_ours(client) { refreshes } else { baseline },
        first: asked.number("first", 0)?,
        workers: asked.number("workers", 3)?.max(1) as usize,
        grants,
        fleets: asked.number("fleets", 2)?.max(1) as usize,
        reductions: asked.number("reductions", 3)? as usize,
        progress: true,
    })
}

fn episode(asked: &Asked, store: &str, client: &str, grants: usize, number: u64) -> Result<bool, String> {
    let ground = Ground::new(store)?;
    let plan = plan(asked, &ground, client, grants)?;
    let mut script = Script::new(plan.seed, number, plan.workers, grants);
    if let Some(harms) = asked.text("harms") {
        script = script.with_harms(harms)?;
    }
    println!("policy {}; harms: {}\n", script.policy, script.harms_text());
    let outcome = run::one(&plan, &script, asked.number("times", 1)?)?;
    outcome.trace.iter().for_each(|line| println!("{line}"));
    Ok(!outcome.verdict().is_fault())
}
