//! `compress`: what is asked for, as it is typed.

use std::{path::PathBuf, str::FromStr};

use clap::{
    Args, ValueEnum,
    builder::{PathBufValueParser, TypedValueParser as _},
};
use nx_infer::{dataset::Source, search::Aim};

use super::{Format, Output};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuraxis compress digits.onnx --data testdata/digits@7000.. --metric accuracy --max-drop 2% -o small
  neuraxis compress digits@live --data mnist/t10k-images-idx3-ubyte.gz --metric accuracy --max-drop 0.5% --target size -o small --pull
  neuraxis compress detector.onnx --data frames/ --metric agreement --max-drop 1% --target latency,engine=rten,threads=2 -o small

--data is one or more of: a folder with a folder of pictures for each class; idx files (MNIST); .npz, .npy; .csv; .jsonl. Behind \
any of them @FROM..TO takes a part. Use data that the model was not trained on: the claim is about them.

--target is what is made small, `latency` (the default) or `size`, then with commas: engine=NAME (searched for; else the one that \
serves the model), also=NAME (timed too), threads=N, class=NAME (the device class that the report names).

In DIR: model.onnx, model.yaml, report.md (the table), report.svg, report.json and report.note, its signature. Broken off with \
Ctrl-C, the same command goes on where it was. `neuraxis model verify DIR` checks all of it.")]
pub(crate) struct CompressArgs {
    /// An ONNX file, or a model of the server: NAME, NAME@ALIAS, NAME@VERSION.
    pub(crate) model: String,
    /// Data to judge by; can be given several times.
    #[arg(long, value_name = "PATH[@FROM..TO]", required = true)]
    pub(crate) data: Vec<Source>,
    /// Right answers by the data's labels, or the same answers as the model gives now.
    #[arg(long, value_enum)]
    pub(crate) metric: Judge,
    /// How much the score may drop: `0.5%` of the answers. What the data are too few to show is refused.
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub(crate) max_drop: f64,
    /// What to make small, and on what: see below.
    #[arg(long, value_name = "TARGET", default_value = "latency")]
    pub(crate) target: Target,
    /// The folder of the result, new or of the same search.
    #[arg(
        id = "output",
        short,
        long = "output",
        value_name = "DIR",
        required = true,
        value_parser = PathBufValueParser::new().map(Output::Folder)
    )]
    pub(crate) folder: Output,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// How sure the claim is, on one side.
    #[arg(long, value_name = "PERCENT", default_value = "95%", value_parser = share)]
    pub(crate) confidence: f64,
    /// The part of the data that the claim is made on, and that the search does not see.
    #[arg(long, value_name = "PERCENT", default_value = "50%", value_parser = share)]
    pub(crate) held_out: f64,
    /// The output that is judged; the first when left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) judge: Option<String>,
    /// Judge on which side of this number each value of the output is: a yes or no, a mask. With --metric agreement.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) threshold: Option<f32>,
    /// Shuffles the data.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The model's manifest; for a file the one beside it when left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Add the result to the server's model as a new version, with its lineage. Aliases stay.
    #[arg(long)]
    pub(crate) pull: bool,
    /// The key that signs the report; made on first use.
    #[arg(long, env = "NEURAXIS_REPORT_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

/// What answers are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Judge {
    /// The labels of the data: the share of right answers.
    Accuracy,
    /// The answers of the model as it is: no labels are needed.
    Agreement,
}

/// What is made small, and on what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) aim: Aim,
    pub(crate) engine: Option<String>,
    pub(crate) also: Vec<String>,
    pub(crate) threads: Option<usize>,
    pub(crate) class: Option<String>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut target = Self { aim: Aim::Latency, engine: None, also: Vec::new(), threads: None, class: None };
        for (at, part) in text.split(',').map(str::trim).enumerate() {
            match (part, part.split_once('=')) {
                ("latency", _) if at == 0 => {}
                ("size", _) if at == 0 => target.aim = Aim::Size,
                (_, Some(("engine", name))) => target.engine = Some(name.to_owned()),
                (_, Some(("also", name))) => target.also.push(name.to_owned()),
                (_, Some(("class", name))) if !name.is_empty() => target.class = Some(name.to_owned()),
                (_, Some(("threads", count))) => {
                    let count = count.parse().ok().filter(|count| (1..=256).contains(count));
                    target.threads = Some(count.ok_or("threads are 1 to 256")?);
                }
                _ => {
                    return Err(format!(
                        "`{part}` is not known; the form is latency or size, then engine=, also=, threads=, class="
                    ));
                }
            }
        }
        Ok(target)
    }
}

/// A share: `0.5%`, or `0.005` where it cannot be taken for percent.
fn share(text: &str) -> Result<f64, String> {
    let (number, percent) = match text.strip_suffix('%') {
        Some(number) => (number.trim(), true),
        None => (text, false),
    };
    let value: f64 = number.parse().map_err(|_error| "a percentage is wanted, such as 0.5%".to_owned())?;
    match (percent, value) {
        (true, value) if value > 0.0 && value < 100.0 => Ok(value / 100.0),
        (false, value) if value > 0.0 && value < 0.1 => Ok(value),
        (false, value) if (0.1..100.0).contains(&value) => {
            Err(format!("`{value}` may be a share or percent; write {value}% if it is percent"))
        }
        _ => Err("a percentage between 0% and 100% is wanted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read() {
        let target: Target = "size,engine=rten,threads=2,also=onnxruntime,class=pi".parse().unwrap();
        assert_eq!((target.aim, target.engine.as_deref(), target.threads), (Aim::Size, Some("rten"), Some(2)));
        assert_eq!((target.also, target.class.as_deref()), (vec!["onnxruntime".to_owned()], Some("pi")));
        assert_eq!("engine=rten".parse::<Target>().unwrap().aim, Aim::Latency);
        assert!("speed".parse::<Target>().unwrap_err().contains("`speed` is not known"));
        assert!("latency,threads=0".parse::<Target>().unwrap_err().contains("1 to 256"));
    }

    #[test]
    fn percent_are_not_taken_for_shares() {
        assert_eq!(share("0.5%").unwrap().to_bits(), 0.005_f64.to_bits());
        assert_eq!(share("0.005").unwrap().to_bits(), 0.005_f64.to_bits());
        assert!(share("0.5").unwrap_err().contains("0.5%"));
        assert!(share("0%").is_err() && share("100%").is_err() && share("-1%").is_err() && share("x").is_err());
    }
}
