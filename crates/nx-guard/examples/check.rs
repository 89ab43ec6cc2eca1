//! Prints what a check takes over 10,000 labelled leaves and 1,000 policies, and its parts: `cargo run --release -p nx-guard
//! --example check`. With `policies` it prints those policies as Cedar itself takes them, for peers.

use nx_guard::bench::{CheckConfig, TraceConfig, cedar, check, trace};

#[expect(clippy::print_stdout, reason = "figures are what it prints")]
fn main() -> Result<(), nx_guard::Error> {
    let config = CheckConfig::default();
    if std::env::args().nth(1).as_deref() == Some("policies") {
        print!("{}", cedar(config.policies));
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
    let start = std::time::Instant::now();
    let now = || start.elapsed().as_nanos() as u64;
    println!("{:?}", trace(&TraceConfig::default(), &now)?);
    for policies in [3, config.policies, 5 * config.policies] {
        println!("{policies} policies: {:?}", check(&CheckConfig { policies, ..config }, &now)?);
    }
    Ok(())
}
