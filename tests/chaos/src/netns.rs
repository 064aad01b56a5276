//! A cut that is one: each worker in a network namespace of its own, whose only link goes down and up.
//!
//! The whole run first moves into a network and a mount namespace of its own, so that all that is made there is gone with its last
//! process, however that ends. Links have addresses of 127.77.0.0/16, for plain HTTP is for loopback and nothing else; the system is
//! told to route them.

use std::process::Command;

/// Set for the run that has moved.
const MOVED: &str = "CHAOS_NETNS";

/// What is done in the new namespaces before anything else. Loopback keeps one address only, or all of 127.0.0.0/8 would be its own.
const SET_UP: &str = "set -e; mkdir -p /run/netns; mount -t tmpfs netns /run/netns; ip addr add 127.0.0.1/32 dev lo; \
    ip link set lo up; ip addr del 127.0.0.1/8 dev lo; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; exec \"$@\"";

/// What a link needs of the system.
const PROBE: &str = "ip netns add probe && ip link add probe type veth peer name eth0 netns probe";

/// Whether this run has namespaces to put workers in.
pub fn is_moved() -> bool {
    std::env::var_os(MOVED).is_some()
}

/// Runs this program again with the same words, in namespaces of its own. Says whether it ended well.
///
/// # Errors
/// They cannot be made here, and why.
pub fn run_again(words: &[String]) -> Result<bool, String> {
    let mut probe = moved();
    let said = probe.args(["sh", "-c", PROBE]).output().map_err(|error| format!("unshare: {error}"))?;
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr);
        return Err(why.lines().next().unwrap_or("unshare failed").to_owned());
    }
    let program = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let done = moved().arg(program).args(words).env(MOVED, "1").status();
    done.map(|status| status.success()).map_err(|error| error.to_string())
}

fn moved() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "sh", "-c", SET_UP, "sh"]);
    command
}

/// A worker's namespace, and the link between it and the harness.
pub(crate) struct Link {
    name: String,
    number: usize,
    is_up: bool,
}

impl Link {
    /// `number` is below 256, and nobody else's in this run.
    pub(crate) fn make(number: usize) -> Result<Self, String> {
        let name = format!("w{number}");
        let script = format!(
            "set -e; ip netns add {name}; ip link add h{number} type veth peer name eth0 netns {name}; \
             ip addr add 127.77.{number}.1/30 dev h{number}; ip link set h{number} up; \
             ip netns exec {name} sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet'; \
             ip -n {name} addr add 127.77.{number}.2/30 dev eth0; ip -n {name} link set eth0 up"
        );
        carried_out(Command::new("sh").args(["-c", &script]))?;
        Ok(Self { name, number, is_up: true })
    }

    /// The harness, as the worker sees it.
    pub(crate) fn host(&self) -> String {
        format!("127.77.{}.1", self.number)
    }

    /// A program in the namespace.
    pub(crate) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    pub(crate) fn set(&mut self, up: bool) -> Result<(), String> {
        if self.is_up != up {
            let state = if up { "up" } else { "down" };
            carried_out(Command::new("ip").args(["-n", &self.name, "link", "set", "eth0", state]))?;
            self.is_up = up;
        }
        Ok(())
    }
}

fn carried_out(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|error| format!("a worker's link: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("a worker's link: {}", String::from_utf8_lossy(&done.stderr).trim()))
}
