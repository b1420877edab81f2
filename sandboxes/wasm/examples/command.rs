//! rustc --target wasm32-wasi -O -o command.wasm command.rs   (newer compilers: wasm32-wasip1)
use std::io::Read;

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("parameters");
    eprintln!("activation {}", std::env::var("__OW_ACTIVATION_ID").unwrap_or_default());
    let name = text
        .split("\"name\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("world");
    println!("{{\"greeting\":\"Hello {}\"}}", name);
}
