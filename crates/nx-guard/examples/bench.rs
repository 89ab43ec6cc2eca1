//! Prints what tracing a call's arguments takes over 10,000 labelled leaves: `cargo run --example bench`, optimised.

use nx_guard::bench::{TraceConfig, trace};

fn main() -> Result<(), nx_guard::Error> {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
    let start = std::time::Instant::now();
    let figures = trace(&TraceConfig::default(), &|| start.elapsed().as_nanos() as u64)?;
    #[expect(clippy::print_stdout, reason = "figures are what it prints")]
    {
        println!("{figures:?}");
    }
    Ok(())
}
