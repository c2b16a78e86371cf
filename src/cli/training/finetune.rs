//! `finetune`: a model that is there, most often a converted one, trained on; first, if asked, its feature maps alone.

use candle_core::DType;

use super::{
    args::FinetuneArgs,
    data::Raw,
    folder::Folder,
    school::{Report, School, Stage, answer_of, device, recipe},
    watch::{Watch, watched},
};
use crate::{
    checkpoint::Checkpoint,
    cli::{Answer, Ending, Failure, args::Talk},
    model::Setup,
    params::Params,
    spec::Positions,
    train::{Objective, Recipe, Schedule, Trained, Trainee},
};

/// Step size where none is given: lower than that of pretraining.
const LEARNING_RATE: f64 = 2e-4;

/// Trains a model on.
pub(in crate::cli) fn finetune(args: &FinetuneArgs, talk: Talk) -> Answer<Ending> {
    let own = args.clone();
    watched(args.training.tui, args.training.threads, talk, move |watch| train(&own, watch))
}

fn train(args: &FinetuneArgs, watch: &Watch) -> Answer<(String, Ending)> {
    let main = recipe(&args.training, args.trained, LEARNING_RATE)?;
    let raw = Raw::read(&args.data)?;
    let folder = Folder::new(args.output.as_deref().unwrap_or(&args.model));
    let (resume, force) = (args.training.resume, args.training.force);
    let is_elsewhere = args.output.as_ref().is_some_and(|output| *output != args.model);
    if is_elsewhere {
        folder.must_be_free(force || resume)?;
    }
    folder.ready(&["transfer", "finetune"], resume, force)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let setup = checkpoint.setup().clone();
    must_suit(&setup, &raw, args.training.seq_len)?;
    let tokenizer = checkpoint.tokenizer()?;
    let device = device();
    let data = raw.encoded(&tokenizer, &args.training, args.data.validation_size, &device)?;
    watch.say(&data.outlook);
    watch.listen()?;
    let params = Params::trainable(&device, DType::F32, args.training.seed).from_source(checkpoint.source_of(&setup));
    // Once the second stage has a state, the first is behind it.
    let transfers = args.transfer > 0 && !folder.has("finetune");
    let first = if transfers { Trained::FeatureMaps } else { main.trained };
    let trainee = Trainee::new(&setup, params, first)?;
    let description = checkpoint.description();
    let school = School { description, tokenizer: &tokenizer, data: &data, folder: &folder, watch };
    if is_elsewhere && !resume {
        school.keep(&trainee)?;
    }
    let reports = stages(args, &school, trainee, transfers, main)?;
    let is_stopped = reports.iter().any(Report::is_stopped);
    let ending = if is_stopped { Ending::Interrupted } else { Ending::Done };
    Ok((answer_of(&reports).render(args.training.format)?, ending))
}

/// Transfer, where it is still to come, and then the finetuning itself.
fn stages(
    args: &FinetuneArgs,
    school: &School<'_>,
    mut trainee: Trainee,
    transfers: bool,
    main: Recipe,
) -> Answer<Vec<Report>> {
    let save_every = args.training.save_every;
    let past = match args.transfer {
        0 => String::new(),
        steps => format!(", after {steps} updates of transfer at {}", args.transfer_lr),
    };
    let mut reports = Vec::new();
    if transfers {
        let schedule =
            Schedule { peak: args.transfer_lr, warmup: args.transfer / 10, steps: args.transfer, ..main.schedule };
        let recipe = Recipe { objective: Objective::Transfer, trained: Trained::FeatureMaps, schedule, ..main.clone() };
        recipe.check().map_err(Failure::Usage)?;
        let report = school.train(&trainee, Stage { name: "transfer", recipe, past: "", save_every })?;
        let is_stopped = report.is_stopped();
        reports.push(report);
        if is_stopped {
            return Ok(reports);
        }
        trainee = trainee.again(main.trained)?;
    }
    reports.push(school.train(&trainee, Stage { name: "finetune", recipe: main, past: &past, save_every })?);
    Ok(reports)
}

/// Refuses data that the model has no use for.
fn must_suit(setup: &Setup, raw: &Raw, seq_len: usize) -> Answer<()> {
    match (setup.has_encoder(), raw.is_aligned()) {
        (true, false) => {
            return Err(Failure::Usage(
                "the model is an encoder-decoder: give --source and --target, not --text".into(),
            ));
        }
        (false, true) => {
            return Err(Failure::Usage("the model has no encoder: give --text, not --source and --target".into()));
        }
        _ => {}
    }
    if setup.shape.positions != Positions::Rotary && seq_len > setup.max_len {
        let known = setup.max_len;
        return Err(Failure::Usage(format!(
            "--seq-len {seq_len}: the model knows {known} positions; give at most {known}"
        )));
    }
    Ok(())
}
