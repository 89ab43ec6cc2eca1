//! Prints what a check takes over 10,000 labelled leaves and 1,000 policies, and its parts: `cargo run --release --example
//! bench`, optimised.

use nx_guard::bench::{CheckConfig, TraceConfig, check, trace};

fn main() -> Result<(), nx_guard::Error> {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
    let start = std::time::Instant::now();
    let now = || start.elapsed().as_nanos() as u64;
    let traced = trace(&TraceConfig::default(), &now)?;
    let checked = check(&CheckConfig::default(), &now)?;
    let few = check(&CheckConfig { policies: 3, ..CheckConfig::default() }, &now)?;
    #[expect(clippy::print_stdout, reason = "figures are what it prints")]
    {
        println!("{traced:?}");
        println!("{checked:?}");
        println!("{few:?}");
    }
    Ok(())
}
