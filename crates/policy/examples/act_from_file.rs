//! Prints the actions of an exported policy: `act_from_file FILE` reads an observation a line from stdin,
//! numbers apart by spaces or commas.

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};

use rescore_policy::Policy;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1);
    let path = path.ok_or("which policy? usage: act_from_file FILE < OBSERVATIONS")?;
    let policy = Policy::load(path)?;
    let description = policy.description();
    eprintln!(
        "{} on {} after {} steps: {} numbers in, {} out",
        description.algorithm,
        description.task,
        description.step,
        policy.observation_dim(),
        policy.action_dim()
    );

    let mut out = io::stdout().lock();
    for (number, line) in (1..).zip(io::stdin().lock().lines()) {
        let line = line?;
        let words = line.split([' ', ',', '\t']).filter(|word| !word.is_empty());
        let observation: Vec<f32> = words
            .map(|word| {
                word.parse()
                    .map_err(|e| format!("line {number}: `{word}`: {e}"))
            })
            .collect::<Result<_, _>>()?;
        let action = policy.act(&observation);
        let action = action.map_err(|error| format!("line {number}: {error}"))?;
        let words: Vec<String> = action.iter().map(ToString::to_string).collect();
        writeln!(out, "{}", words.join(" "))?;
    }
    Ok(())
}
