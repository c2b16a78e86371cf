//! `run` and `view` in a terminal: wires the dashboard to plans, files and runs. Knows when there is a terminal for it.

use std::{
    env,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use candle_core::Device;
use clap::ColorChoice;

use super::{
    Answer, Ending, Failure,
    args::{RunArgs, Talk},
    assembly::{self, Beginning, Front, Measured, Wishes},
    layers, runs, say,
    setup::{self, Planned},
    stop,
};
use crate::{
    attention::variants,
    bench::{Bench, devices, memory_in_use, open as open_device},
    measure::{Build, MeasuredLimits, ObserverCost},
    report::render_summary,
    spec::{CellId, without_backtrace},
    sweep::{AssumedRates, Event, Executor, Outcome, Plan, Prediction, Sink, profile},
    tui::{
        self, Begun, Choices, ColourWish, Ended, Facts, Host, Left, Opening, Order, Outlook, Relay, Shows, Theme,
        Unfinished,
    },
};

/// Whether a run is to have the dashboard.
///
/// # Errors
/// `--tui` without a terminal, or with data for stdout.
pub(super) fn is_wanted(args: &RunArgs, talk: Talk) -> Answer<bool> {
    let to_stdout = [&args.csv, &args.samples_csv, &args.jsonl].into_iter().flatten().any(|target| target == "-");
    if args.tui && to_stdout {
        return Err(Failure::Usage("--tui: data goes to stdout, which the dashboard needs; give a file".into()));
    }
    if args.tui {
        return must_have_terminal().map(|()| true);
    }
    // Parts of a run, and what is held against another, are for scripts.
    let is_part =
        args.launches.is_some() || args.launch.is_some() || args.plan.shard.is_some() || args.baseline.is_some();
    let is_plain = args.no_tui || args.dry_run || talk.quiet || to_stdout || is_part || is_ci();
    Ok(!is_plain && has_terminal().is_ok())
}

/// Whether there is a terminal that can show a screen.
fn has_terminal() -> Result<(), String> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err("stdin and stdout must be a terminal".to_owned());
    }
    match env::var("TERM") {
        Ok(term) if term == "dumb" => Err("the terminal is dumb (TERM)".to_owned()),
        _ => Ok(()),
    }
}

fn is_ci() -> bool {
    env::var("CI").is_ok_and(|v| !v.is_empty() && v != "0" && !v.eq_ignore_ascii_case("false"))
}

/// Refuses `--tui` where there is no terminal.
pub(super) fn must_have_terminal() -> Answer<()> {
    has_terminal().map_err(|why| Failure::Usage(format!("--tui: {why}")))
}

/// Opens the dashboard with these choices made.
pub(super) fn open(args: &RunArgs, talk: Talk) -> Answer<Ending> {
    super::run::meta_json(&args.meta)?;
    let (profile, overrides) = layers::resolve(&args.plan)?;
    let outputs = [&args.csv, &args.samples_csv, &args.jsonl].into_iter().flatten();
    if let Some(path) = outputs.filter(|_| !args.force && args.resume.is_none()).find(|p| Path::new(p).exists()) {
        let error = crate::store::OutputError::Exists { path: path.clone() };
        return Err(Failure::CouldNotRun(error.into()));
    }
    let choices = Choices { profile, overrides };
    // What cannot be planned at all is said before the screen is taken.
    setup::plan(&choices.profile, &choices.overrides)?;
    show(Desk::new(args.clone()), choices, Shows::Setup, talk)
}

/// Shows files.
pub(super) fn view(files: Vec<PathBuf>, talk: Talk) -> Answer<Ending> {
    has_terminal().map_err(|why| Failure::Usage(format!("view: {why}; `t2r` writes CSV for other programs")))?;
    let files = files.iter().map(|file| tui::read(file)).collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    show(Desk::new(RunArgs::default()), default_choices(), Shows::Files(files), talk)
}

fn default_choices() -> Choices {
    Choices { profile: profile::DEFAULT_PROFILE.to_owned(), ..Choices::default() }
}

/// What a training comes to: its answer, and how the command ends.
type Trained = (String, Ending);

/// Carries out a training while the dashboard shows it, until the user has left.
pub(super) fn train(
    n_threads: usize,
    talk: Talk,
    train: impl FnOnce(Rc<Relay>) -> Answer<Trained> + Send + 'static,
) -> Answer<Trained> {
    let result = Arc::new(Mutex::new(None));
    let of_task = Arc::clone(&result);
    let task = move |relay: Rc<Relay>| {
        let trained = train(relay);
        let outcome = |ending| Outcome { interrupted: ending == Ending::Interrupted, ..Outcome::default() };
        let ended = match &trained {
            Ok((_, ending)) => Ok(Ended { outcome: outcome(*ending), ..Ended::default() }),
            Err(failure) => Err(anyhow::Error::msg(told(failure))),
        };
        *of_task.lock().unwrap_or_else(PoisonError::into_inner) = Some(trained);
        ended
    };
    let desk = Desk {
        threads: Mutex::new(Some(n_threads)),
        training: Mutex::new(Some(Box::new(task))),
        ..Desk::new(RunArgs::default())
    };
    let ending = show(desk, default_choices(), Shows::Training, talk)?;
    let trained = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    let unfinished = "the training did not come to an end; --resume goes on from its last state";
    trained.unwrap_or_else(|| match ending {
        Ending::Interrupted => {
            say(unfinished);
            Ok((String::new(), ending))
        }
        _ => Err(anyhow::Error::msg(unfinished).into()),
    })
}

fn show(desk: Desk, choices: Choices, shows: Shows, talk: Talk) -> Answer<Ending> {
    stop::listen()?;
    let wish = match talk.color {
        ColorChoice::Auto => ColourWish::Auto,
        ColorChoice::Always => ColourWish::Always,
        ColorChoice::Never => ColourWish::Never,
    };
    let theme = Theme::detect(wish, |name| env::var(name).ok());
    let opening = Opening { choices, theme, shows, on_signal: Box::new(stop::wake) };
    let Left { rows, files, notice, failed, is_busy } = tui::open(Arc::new(desk), opening)?;
    if !rows.is_empty() {
        say(render_summary(&rows).trim_end());
    }
    if !files.is_empty() {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        say(&format!("rows are in {}", names.join(" and ")));
    }
    if let Some(notice) = notice.filter(|_| stop::asked()) {
        say(&notice);
    }
    if let Some(why) = failed {
        return Err(anyhow::Error::msg(why).into());
    }
    Ok(if is_busy || stop::asked() { Ending::Interrupted } else { Ending::Done })
}

/// Where the dashboard's orders are carried out.
struct Desk {
    /// What the command line says of outputs: for the first run.
    first: Mutex<Option<RunArgs>>,
    /// What it says of every run.
    args: RunArgs,
    /// Threads, once they are fixed: pools are made once in a process.
    threads: Mutex<Option<usize>>,
    /// What is done first in place of a sweep.
    training: Mutex<Option<Training>>,
    /// The device of the last run.
    device: Mutex<Option<Device>>,
}

/// A training, to be carried out on the measuring thread.
type Training = Box<dyn FnOnce(Rc<Relay>) -> anyhow::Result<Ended> + Send>;

impl Desk {
    fn new(args: RunArgs) -> Self {
        let first = Mutex::new(Some(args.clone()));
        Self { first, args, threads: Mutex::default(), training: Mutex::default(), device: Mutex::default() }
    }

    /// Fixes the number of threads, or says why it cannot be another one.
    fn fix_threads(&self, n_threads: usize) -> Result<(), String> {
        let mut fixed = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        match *fixed {
            Some(n) if n != n_threads => {
                Err(format!("threads: this process runs on {n}; leave, and come back with --threads {n_threads}"))
            }
            Some(_) => Ok(()),
            None => {
                *fixed = Some(n_threads);
                setup::set_threads(n_threads);
                Ok(())
            }
        }
    }

    fn planned(&self, choices: &Choices, only: &[CellId]) -> Answer<Planned> {
        let mut planned = setup::plan(&choices.profile, &choices.overrides)?;
        if !only.is_empty() {
            planned.plan = planned.plan.only(only);
        }
        Ok(planned)
    }

    /// Where an order's rows go: as the command line says the first time, else into the state directory.
    fn outputs(&self, order: &Order, plan: &Plan) -> RunArgs {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let plain = RunArgs { meta: self.args.meta.clone(), ..RunArgs::default() };
        if let Some(file) = &order.resume {
            return RunArgs { resume: Some(file.display().to_string()), ..plain };
        }
        let first = first.filter(|_| order.only.is_empty()).unwrap_or(plain);
        if first.csv.is_some() || first.resume.is_some() {
            return first;
        }
        let name = plan.run_id(SystemTime::now(), std::process::id());
        let autosave = runs::autosave(&name)
            .filter(|path| path.parent().is_some_and(|folder| std::fs::create_dir_all(folder).is_ok()));
        RunArgs { csv: autosave.map(|path| path.display().to_string()), ..first }
    }
}

impl Host for Desk {
    fn outlook(&self, choices: &Choices) -> Result<Outlook, String> {
        let planned = self.planned(choices, &[]).map_err(|f| told(&f))?;
        let device = open_device(planned.device)?;
        let bench = Bench::new(device.device.clone(), None, Box::new(|| false));
        let budget = planned.plan.settings.memory_budget.unwrap_or_else(|| setup::memory_default(&device));
        let cells: Vec<Result<Prediction, String>> = planned.plan.cells().map(|c| bench.predict(c)).collect();
        let time = planned.plan.estimate(
            |cell| match bench.predict(cell) {
                Ok(p) if p.memory_bytes > budget => Err(String::new()),
                other => other,
            },
            &AssumedRates::default(),
        );
        let device = format!("{}, {}", planned.device, setup::count(planned.n_threads, "thread"));
        Ok(Outlook {
            plan: Arc::new(planned.plan),
            description: planned.description,
            cells,
            time,
            memory_budget: budget,
            device,
        })
    }

    fn measure(&self, order: &Order, relay: Rc<Relay>) -> anyhow::Result<Ended> {
        let training = self.training.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(training) = training {
            return training(relay);
        }
        let planned = self.planned(&order.choices, &order.only).map_err(|f| anyhow::Error::msg(told(&f)))?;
        self.fix_threads(planned.n_threads).map_err(anyhow::Error::msg)?;
        let args = self.outputs(order, &planned.plan);
        let setup = planned.open().map_err(|f| anyhow::Error::msg(told(&f)))?;
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = Some(setup.device.device.clone());
        let bench = setup.bench(None);
        let predictions = setup.plan.cells().map(|c| bench.predict(c).ok()).collect();
        let mut warnings = Vec::new();
        let file = args.csv.as_ref().or(args.resume.as_ref());
        let kept = match (&order.resume, file) {
            (Some(file), _) => Some(runs::hold(file)?),
            (None, Some(file)) => {
                let name = setup.plan.run_id(SystemTime::now(), std::process::id());
                let cells = setup.plan.cells().count();
                let kept = runs::keep(&name, Path::new(file), &order.choices, cells);
                kept.map_err(|e| warnings.push(format!("this run cannot be resumed from here: {e}"))).ok()
            }
            (None, None) => {
                warnings
                    .push("rows are kept nowhere until w writes them: no state directory can be written".to_owned());
                None
            }
        };
        let mut watched =
            Watched { relay: Rc::clone(&relay), plan: Arc::new(setup.plan.clone()), predictions, cost: None };
        let measured = assembly::measure(&setup, &args, true, &wishes(&relay), &mut watched);
        drop(kept);
        let Measured { outcome, warnings: more, .. } = measured.map_err(|f| anyhow::Error::msg(told(&f)))?;
        warnings.extend(more);
        Ok(Ended { outcome, warnings })
    }

    fn limits(&self) -> MeasuredLimits {
        let wanted = setup::available_threads();
        // Where a run has fixed another number, the limits are those of that many.
        let threads = match self.fix_threads(wanted) {
            Ok(()) => wanted,
            Err(_) => self.threads.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(wanted),
        };
        MeasuredLimits::measure(threads, &setup::machine())
    }

    fn gpu_memory(&self) -> Option<(u64, u64)> {
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        memory_in_use(device.as_ref()?)
    }

    fn facts(&self) -> Facts {
        let machine = setup::machine();
        let devices = devices(&machine.cpu_info).into_iter().map(|d| (d.spec.to_string(), d.name)).collect();
        let profiles = profile::embedded().into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        let variants = variants().into_iter().map(|v| (v.name, v.summary)).collect();
        Facts { machine, build: Build::current(), devices, profiles, variants }
    }

    fn unfinished(&self) -> Vec<Unfinished> {
        runs::unfinished()
    }

    fn forget(&self, run: &Unfinished) -> Result<(), String> {
        runs::forget(run)
    }
}

fn told(failure: &Failure) -> String {
    match failure {
        Failure::Usage(text) => text.clone(),
        Failure::Refused(error) => error.to_string(),
        Failure::CouldNotRun(error) => without_backtrace(&format!("{error:#}")).to_owned(),
        Failure::Told(code) => format!("ended with code {code}"),
    }
}

fn wishes(relay: &Rc<Relay>) -> Wishes {
    let with = || Rc::clone(relay);
    let (a, b, c, d, e) = (with(), with(), with(), with(), with());
    Wishes {
        stop: Rc::new(move || a.between_visits() || stop::asked()),
        stop_now: Rc::new(move || b.is_cut_short() || stop::asked()),
        rest: Rc::new(move || c.between_samples()),
        skip: Rc::new(move |cell| d.skips(cell)),
        rested: Rc::new(move || e.rested()),
    }
}

/// Passes on what happens to the dashboard.
struct Watched {
    relay: Rc<Relay>,
    plan: Arc<Plan>,
    predictions: Vec<Option<Prediction>>,
    cost: Option<ObserverCost>,
}

impl Front for Watched {
    fn redraw(&mut self) {
        self.relay.draw();
    }

    fn begin(&mut self, beginning: &Beginning<'_>) {
        self.relay.begin(Begun {
            plan: Arc::clone(&self.plan),
            info: beginning.info.clone(),
            predictions: self.predictions.clone(),
            rows: beginning.rows.to_vec(),
            file: beginning.file.clone(),
            observer: self.cost,
            now: SystemTime::now,
        });
    }

    fn watched(&mut self, cost: &ObserverCost) {
        self.cost = Some(*cost);
    }
}

impl Sink for Watched {
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()> {
        self.relay.note(event);
        Ok(())
    }
}
