//! Turns what cargo built into components that carry their manifests, records them, and holds built ones against
//! committed ones. It never starts a compiler: `tools-wasm/build` does.

mod pack;
mod record;

use anyhow::{Context, Result, bail};
use std::env::args_os;
use std::path::PathBuf;

const USAGE: &str =
    "builder pack WASM MANIFEST OUT | record ROOT COMPONENTS TOOLCHAIN NAME… | compare ROOT BUILT TOOLCHAIN NAME…";

fn main() -> Result<()> {
    let mut words = args_os().skip(1);
    let mut next = || words.next().context(USAGE);
    let act = next()?;
    let paths = [PathBuf::from(next()?), PathBuf::from(next()?), PathBuf::from(next()?)];
    let names: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let [first, second, third] = paths;
    match act.to_str() {
        Some("pack") => pack::pack(&first, &second, &third),
        Some("record") => record::record(&first, &second, &third, &names),
        Some("compare") => record::compare(&first, &second, &third, &names),
        Some(_) | None => bail!("{USAGE}"),
    }
}
