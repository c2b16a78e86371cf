//! The command line as people type it. Knows spelling and help, not what an option does.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ColorChoice, Parser, Subcommand};
use clap_complete::Shell;

use super::{
    about,
    convert::ConvertArgs,
    eval::EvalArgs,
    generate::GenerateArgs,
    training::{FinetuneArgs, PretrainArgs, TradeoffArgs, TranslateArgs},
};
use crate::{
    compare::Rule,
    report::Format,
    sweep::{MeasureFields, Overrides, Part, RunFields, Share, SweepFields},
};

/// Benchmark softmax and linear attention, among them T2R, on this machine.
#[derive(Debug, Parser)]
#[command(name = "t2r", version, long_version = about::long_version(), about, after_long_help = AFTER_HELP, max_term_width = 120)]
pub(super) struct Line {
    /// `run` is the command of a line without one.
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) run: RunArgs,
    #[command(flatten)]
    pub(super) talk: Talk,
}

const AFTER_HELP: &str = "\
Settings: every option of what to run, how to measure and where to run may also be given as T2R_<OPTION> in the
environment (T2R_SEQ_LEN=64-4096*4), in ./t2r.toml and in $XDG_CONFIG_HOME/t2r/config.toml, as seq_len under [sweep],
[measure] or [run]. A flag covers the environment, that covers ./t2r.toml, that the user's file, that the profile.

Exit codes: 0 done, 1 could not run, 2 usage, 3 a gate failed, 4 some cells are not ok, 130 interrupted.";

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Talk {
    /// Say more: a line for every finished cell.
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(super) verbose: bool,
    /// Say nothing but errors; with an output file not even the summary.
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: ColorChoice,
}

/// What `t2r` can be asked to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure, and write what was measured.
    Run(Box<RunArgs>),
    /// Compare runs: of builds, of machines; and fail where one has become worse.
    Compare(CompareArgs),
    /// Join the files of shards and launches into one.
    Merge(MergeArgs),
    /// Show what there is: profiles, cells of a run, variants, devices.
    List {
        #[command(subcommand)]
        what: ListWhat,
    },
    /// Show results or the log of a training in the dashboard; nothing is measured, and no device is needed.
    View {
        /// Files of cells (the first is shown, the others are laid over it), of quality, and training logs.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Show the machine and the build that every row names.
    Env {
        /// Also measure the machine's limits, which takes a few seconds.
        #[arg(long)]
        measure: bool,
        /// Form of the answer: table, json, csv, md.
        #[arg(long, value_name = "FORM", default_value_t)]
        format: Format,
    },
    /// Swap the attention of a pretrained model.
    Convert(Box<ConvertArgs>),
    /// Score a text: perplexity, and the distance of attention from a teacher's.
    Eval(Box<EvalArgs>),
    /// Continue a text.
    Generate(Box<GenerateArgs>),
    /// Train a new model from random weights.
    Pretrain(Box<PretrainArgs>),
    /// Train a model on, most often a converted one.
    Finetune(Box<FinetuneArgs>),
    /// Translate sentences, one a line.
    Translate(Box<TranslateArgs>),
    /// Train, convert, finetune and judge the models of a profile: quality beside speed and memory.
    Tradeoff(Box<TradeoffArgs>),
    /// Write one HTML page of the answer, the figures and the cells of result files.
    Report(ReportArgs),
    /// Write a completion script for a shell to stdout.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the manual: the page of `t2r` to stdout, or all pages into a folder.
    Man {
        /// Write a page per subcommand into this folder.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What `report` is made of and where it goes.
#[derive(Debug, Clone, Args)]
pub(super) struct ReportArgs {
    /// Files, patterns or directories of cells (`--csv`, `--jsonl`), training logs, and CSVs of quality (columns variant, and
    /// perplexity, bleu or accuracy); one page for all of them.
    #[arg(required = true, value_name = "FILES")]
    pub(super) files: Vec<String>,
    /// Write the page here; `-` is stdout.
    #[arg(short, long, value_name = "PATH", required_unless_present = "figures")]
    pub(super) output: Option<String>,
    /// Write each chart as an SVG file into this folder.
    #[arg(long, value_name = "DIR")]
    pub(super) figures: Option<PathBuf>,
    /// Overwrite files that exist.
    #[arg(long)]
    pub(super) force: bool,
}

/// What `list` lists.
#[derive(Debug, Subcommand)]
pub(super) enum ListWhat {
    /// The embedded profiles.
    Profiles(Form),
    /// The cells that a run with these options has, with predicted memory and time.
    Cells {
        #[command(flatten)]
        plan: Box<PlanArgs>,
        #[command(flatten)]
        form: Form,
    },
    /// The attention variants and their parameters.
    Variants(Form),
    /// The devices that this binary can use here.
    Devices(Form),
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct Form {
    /// Form of the answer: table, json, csv, md.
    #[arg(long, value_name = "FORM", default_value_t)]
    pub(super) format: Format,
}

/// What decides which cells there are.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[group(skip)]
pub(super) struct PlanArgs {
    /// Profile by name (`t2r list profiles`) or path [default: quick].
    #[arg(long, value_name = "NAME|PATH", help_heading = "What to run")]
    pub(super) profile: Option<String>,
    /// Only one of N parts of about equal time, whole groups each, for N machines or jobs.
    #[arg(long, value_name = "I/N", help_heading = "What to run")]
    pub(super) shard: Option<Part>,
    #[command(flatten)]
    pub(super) fields: Fields,
}

/// The options that are also fields of a profile.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[group(skip)]
pub(super) struct Fields {
    #[command(flatten)]
    pub(super) sweep: SweepFields,
    #[command(flatten)]
    pub(super) measure: MeasureFields,
    #[command(flatten)]
    pub(super) run: RunFields,
}

impl Fields {
    /// As planning takes them.
    pub(super) fn overrides(self) -> Overrides {
        Overrides { sweep: self.sweep, measure: self.measure, run: self.run }
    }
}

/// The options of a run.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[group(skip)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) plan: PlanArgs,
    /// Write one row per cell; `-` is stdout.
    #[arg(long, value_name = "PATH", help_heading = "Output", conflicts_with = "resume")]
    pub(super) csv: Option<String>,
    /// Write one row per sample.
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub(super) samples_csv: Option<String>,
    /// Write one JSON object per cell, samples and histograms inline.
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub(super) jsonl: Option<String>,
    /// Go on with the cells file of an interrupted run, in place.
    #[arg(long, value_name = "FILE", help_heading = "Output", conflicts_with = "force")]
    pub(super) resume: Option<String>,
    /// Overwrite output files that exist.
    #[arg(long, help_heading = "Output")]
    pub(super) force: bool,
    /// Write what the correctness checks saw into this folder, as safetensors.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(super) dump: Option<PathBuf>,
    /// A pair of your own for the `meta` column; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, help_heading = "Output")]
    pub(super) meta: Vec<(String, String)>,
    /// Exit with 0 even if some cells are not ok.
    #[arg(long, help_heading = "Output")]
    pub(super) allow_failures: bool,
    /// Show cells, predicted memory and estimated time, and measure nothing.
    #[arg(long, help_heading = "Output")]
    pub(super) dry_run: bool,
    /// Run the whole program this many times, so that drift between launches is measured too; at least 3 for a gate.
    #[arg(long, value_name = "N", help_heading = "How to measure", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) launches: Option<u32>,
    /// Which of the launches this process is.
    #[arg(long, hide = true)]
    pub(super) launch: Option<Part>,
    /// Compare with these results when done.
    #[arg(long, value_name = "FILE", help_heading = "Comparing")]
    pub(super) baseline: Option<String>,
    #[command(flatten)]
    pub(super) gate: GateArgs,
    /// Open the dashboard, or fail where there is no terminal; in a terminal it opens by itself.
    #[arg(long, help_heading = "Output", conflicts_with_all = ["no_tui", "dry_run", "quiet", "launches", "shard", "baseline"])]
    pub(super) tui: bool,
    /// Never open the dashboard.
    #[arg(long, help_heading = "Output")]
    pub(super) no_tui: bool,
}

/// What fails a comparison.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[group(skip)]
pub(super) struct GateArgs {
    /// Fail (exit 3) where COLUMN has grown by more than N %, or fallen for -N%; may be repeated.
    #[arg(long, value_name = "COLUMN:+N%", help_heading = "Comparing")]
    pub(super) fail_on: Vec<Rule>,
    /// Fail also where it cannot be told.
    #[arg(long, help_heading = "Comparing", requires = "fail_on")]
    pub(super) fail_unclear: bool,
}

/// The options of `compare`.
#[derive(Debug, Clone, Args)]
pub(super) struct CompareArgs {
    /// The base, then what is held against it: a file, a pattern, a directory, or `-`; each is one side, its runs are
    /// launches of it. One argument alone is split by build and machine.
    #[arg(required = true, value_name = "BASE CAND...")]
    pub(super) sides: Vec<String>,
    /// Key columns that may differ between the sides, e.g. n_threads,implementation.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(super) across: Vec<String>,
    /// Only rows with this value of a key column; may be repeated.
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = pair)]
    pub(super) only: Vec<(String, String)>,
    /// What is the same for all practical purposes: a ratio within ± this share.
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    pub(super) same_within: Share,
    /// Launches of one build on a machine of the sides: what the same differs from itself there; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(super) spread: Vec<String>,
    #[command(flatten)]
    pub(super) gate: GateArgs,
    #[command(flatten)]
    pub(super) form: Form,
}

/// The options of `merge`.
#[derive(Debug, Clone, Args)]
pub(super) struct MergeArgs {
    /// Files, patterns or directories.
    #[arg(required = true, value_name = "FILES")]
    pub(super) files: Vec<String>,
    /// Where to write the rows.
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    pub(super) output: String,
    /// One row per cell: the calls of all its launches in one histogram, for percentiles over launches.
    #[arg(long)]
    pub(super) pool: bool,
    /// Overwrite the output if it exists.
    #[arg(long)]
    pub(super) force: bool,
}

impl RunArgs {
    /// Whether nothing was asked for.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, e.g. cooling=fan".to_owned()),
    }
}

/// The last `--color` of a line: help and errors of the parser need it before the line is parsed.
pub(super) fn colour_of(args: &[OsString]) -> ColorChoice {
    let words: Vec<&str> = args.iter().filter_map(|a| a.to_str()).collect();
    let inline = words.iter().filter_map(|w| w.strip_prefix("--color="));
    let apart = words.windows(2).filter(|w| w[0] == "--color").map(|w| w[1]);
    match inline.chain(apart).last() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_parser_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn pairs_need_a_key() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }

    #[test]
    fn colour_is_known_before_parsing() {
        let colour = |words: &[&str]| colour_of(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(colour(&["t2r", "--color", "never"]), ColorChoice::Never);
        assert_eq!(colour(&["t2r", "--color=always"]), ColorChoice::Always);
        assert_eq!(colour(&["t2r"]), ColorChoice::Auto);
    }
}
