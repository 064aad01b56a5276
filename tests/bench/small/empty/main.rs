//! What every other one has too: arguments in, text out.

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, callback, first, second] = arguments.as_slice() else { return };
    println!("{callback}\n{first}\n{second}");
}
