//! Scripted keys and events: what they make of the state, and what is to be done.

use std::{path::PathBuf, sync::Arc};

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::{
    spec::CellId,
    tui::{
        host::Unfinished,
        scripted::{GRID, begun, events, finished, opened, outlook, plan, press, press_all, rows, running, viewing},
        view,
    },
};

#[test]
fn a_field_is_edited_in_place_and_its_faults_are_said_there() {
    let mut app = opened();
    app.setup.at = FIELDS.iter().position(|f| f.name == "seq_len").expect("a field");
    press(&mut app, KeyCode::Enter);
    assert!(matches!(&app.setup.editing, Some(Editing::Text(line)) if line.text() == "64,256,1024,4096"));
    app.update(Message::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    assert!(press_all(&mut app, "64-\n").is_none());
    assert!(app.setup.fault.as_ref().is_some_and(|(at, why)| *at == app.setup.at && why.contains("--seq-len")));
    app.update(Message::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    let effect = press_all(&mut app, "64-256*2\n");
    let Some(Effect::Plan(choices)) = effect else { panic!("{effect:?}") };
    assert_eq!(choices.overrides.text("seq_len").as_deref(), Some("64,128,256"));
    app.update(Message::Planned(Box::new(Err("n_heads is 0; give at least 1".to_owned()))));
    let fault = app.setup.fault.as_ref().map(|(at, _)| FIELDS[*at].name);
    assert_eq!(fault, Some("n_heads"));
    // What cannot run is not started.
    assert!(press_all(&mut app, "s").is_none() && app.notice.is_some() && !app.is_busy());
    assert!(matches!(press_all(&mut app, "x"), Some(Effect::Plan(c)) if c.overrides.text("seq_len").is_none()));
}

#[test]
fn words_are_picked_and_choices_turned() {
    let mut app = opened();
    app.setup.at = FIELDS.iter().position(|f| f.name == "variants").expect("a field");
    press(&mut app, KeyCode::Enter);
    assert!(
        matches!(&app.setup.editing, Some(Editing::Pick { words, .. }) if words[0] == ("softmax".to_owned(), true))
    );
    // The second word is elu: off it goes.
    press(&mut app, KeyCode::Down);
    let effect = press_all(&mut app, " \n");
    assert!(matches!(effect, Some(Effect::Plan(c)) if c.overrides.text("variants").as_deref() == Some("softmax,t2r")));
    app.setup.at = 0;
    assert!(matches!(press(&mut app, KeyCode::Right), Some(Effect::Plan(c)) if c.profile == "smoke"));
    assert!(matches!(press(&mut app, KeyCode::Left), Some(Effect::Plan(c)) if c.profile == "quick"));
}

#[test]
fn a_run_starts_pauses_goes_on_and_is_cancelled_after_asking_once() {
    let mut app = opened();
    assert!(matches!(press_all(&mut app, "s"), Some(Effect::Start(order)) if order.choices.profile == "quick"));
    assert_eq!(app.phase, Phase::Starting);
    let plan = plan(GRID);
    app.update(Message::Begun(Box::new(begun(&plan))));
    assert_eq!((app.phase, app.screen), (Phase::Running { pausing: false }, Screen::Live));
    press_all(&mut app, " ");
    assert!(app.wants_pause());
    press_all(&mut app, " ");
    assert!(!app.wants_pause());
    assert!(press_all(&mut app, "k").is_none() && app.dialog.is_some());
    assert!(press_all(&mut app, "n").is_none() && app.dialog.is_none() && app.is_busy());
    assert!(matches!(press_all(&mut app, "ky"), Some(Effect::Cancel)));
    assert_eq!(app.phase, Phase::Cancelling);
    assert!(app.update(Message::Ended(Ok(Ended::default()))).is_none());
    assert_eq!(app.phase, Phase::Finished);
    assert!(matches!(press_all(&mut app, "q"), Some(Effect::Quit)));
}

#[test]
fn a_run_that_breaks_off_is_told_from_one_that_does_not_begin() {
    let mut app = running(0.3, false, |_| 0.0);
    app.update(Message::Ended(Err("disk full".to_owned())));
    assert!(app.notice.as_ref().is_some_and(|n| n.starts_with("the run broke off: disk full")), "{:?}", app.notice);
    app.screen = Screen::Setup;
    press_all(&mut app, "s");
    app.update(Message::Ended(Err("no device".to_owned())));
    assert!(app.notice.as_ref().is_some_and(|n| n.starts_with("the run did not begin")), "{:?}", app.notice);
    assert_eq!(app.failed.as_deref(), Some("no device"));
}

#[test]
fn leaving_asks_once_ends_the_run_and_leaves_when_it_has_ended() {
    let mut app = running(0.3, false, |_| 0.0);
    assert!(press_all(&mut app, "q").is_none());
    assert!(matches!(press_all(&mut app, "y"), Some(Effect::Cancel)));
    assert!(matches!(app.update(Message::Ended(Ok(Ended::default()))), Some(Effect::Quit)));
    // A signal does not ask; the second one does not wait.
    let mut app = running(0.3, false, |_| 0.0);
    assert!(matches!(app.update(Message::Terminate), Some(Effect::Cancel)));
    assert!(matches!(app.update(Message::Terminate), Some(Effect::Quit)));
    assert!(matches!(opened().update(Message::Terminate), Some(Effect::Quit)));
}

#[test]
fn suspending_works_whatever_is_open() {
    let press = |app: &mut App| app.update(Message::Key(KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL)));
    for keys in ["", "?", "W", "\n", "3/"] {
        let mut app = opened();
        press_all(&mut app, keys);
        let (dialog, help) = (app.dialog.clone(), app.help);
        assert!(matches!(press(&mut app), Some(Effect::Suspend)), "{keys}");
        assert_eq!((&app.dialog, app.help), (&dialog, help), "what is open stays open");
    }
}

#[test]
fn keys_that_are_let_go_do_nothing() {
    let mut app = opened();
    let mut event = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    event.kind = KeyEventKind::Release;
    assert!(app.update(Message::Key(event)).is_none());
}

#[test]
fn skipping_names_the_cell_in_hand_or_the_selected_one() {
    let mut app = running(0.3, false, |_| 0.0);
    app.screen = Screen::Grid;
    press(&mut app, KeyCode::End);
    let selected = app.grid.selected().map(|i| app.rows()[i].cell_id.clone()).expect("a row");
    assert!(matches!(press_all(&mut app, "n"), Some(Effect::Skip(ids)) if ids == [CellId(selected)]));
    // One that is done is not gone on without.
    app.grid.at = 0;
    assert!(app.state(0) == CellState::Final && press_all(&mut app, "n").is_none());
    assert!(app.notice.as_ref().is_some_and(|n| n.contains("done")), "{:?}", app.notice);
    let mut app = opened();
    app.screen = Screen::Live;
    assert!(press_all(&mut app, "n").is_none() && app.notice.is_some());
}

#[test]
fn a_cell_is_measured_again_alone_with_more_rounds() {
    let mut app = finished(false);
    app.screen = Screen::Grid;
    app.grid.go_to(Some(4));
    let effect = press_all(&mut app, "m");
    let Some(Effect::Start(order)) = effect else { panic!("{effect:?}") };
    assert_eq!(order.only.len(), 1);
    assert_eq!(order.choices.overrides.text("rounds").as_deref(), Some("14"));

    // Its rows come from a run of its own; those of all other cells stay.
    let mut of_part = begun(&Arc::new(plan(&GRID.replace("rounds = 7", "rounds = 14")).only(&order.only)));
    of_part.info.template.run_id = "20260131T130000Z-00000000-0000".to_owned();
    of_part.file = Some("part.csv".into());
    // It is told of twice.
    app.update(Message::Begun(Box::new(of_part.clone())));
    app.update(Message::Begun(Box::new(of_part.clone())));
    assert_eq!((app.screen, app.rows().len(), app.rows_to_write().len()), (Screen::Grid, 24, 22));
    let selected = app.grid.selected().map(|at| app.rows()[at].cell_id.clone());
    assert_eq!(selected.as_deref(), Some(order.only[0].0.as_str()));
    app.update(Message::Events(events(&of_part.plan, false, |_| 0.0)));
    app.update(Message::Ended(Ok(Ended::default())));
    let (mut again, mut before) = (app.rows_to_write(), rows());
    assert_eq!(again.iter().filter(|row| row.run_id == of_part.info.template.run_id).count(), 2);
    let by_cell = |rows: &mut [Row]| rows.sort_by(|a, b| a.cell_id.cmp(&b.cell_id));
    by_cell(&mut again);
    by_cell(&mut before);
    assert!(again.iter().map(|row| &row.cell_id).eq(before.iter().map(|row| &row.cell_id)));
    // The two as they were before are laid beside them.
    assert_eq!(app.compare.files.iter().map(|file| file.rows.len()).collect::<Vec<_>>(), [2]);
    assert_eq!(app.run.as_ref().map(LiveRun::files), Some(vec!["part.csv".into()]));
    // Twice what a cell has, at least what all have: not twice what it was to have this time.
    let rounds = |app: &mut App| match press_all(app, "m") {
        Some(Effect::Start(order)) => order.choices.overrides.text("rounds"),
        other => panic!("{other:?}"),
    };
    let had = app.grid.selected().and_then(|at| app.rows()[at].round_count).expect("rounds");
    assert_eq!(rounds(&mut app), Some((2 * had.max(7)).to_string()));
    app.update(Message::Ended(Err("no device".to_owned())));
    app.grid.go_to(Some(5));
    assert_eq!(rounds(&mut app).as_deref(), Some("14"));
}

#[test]
fn writing_asks_for_a_name_and_before_writing_over() {
    let mut app = finished(false);
    press_all(&mut app, "w");
    let effect = press_all(&mut app, "\n");
    assert!(
        matches!(&effect, Some(Effect::Write { export: Export::Csv, path, force: false }) if path.ends_with(".csv"))
    );
    app.update(Message::Exists(Export::Csv, "a.csv".to_owned()));
    assert!(matches!(press_all(&mut app, "y"), Some(Effect::Write { force: true, path, .. }) if path == "a.csv"));
    assert!(press_all(&mut opened(), "4w").is_none());
    press_all(&mut app, "W");
    assert!(matches!(press_all(&mut app, "\n"), Some(Effect::Write { export: Export::Screen, .. })));
}

#[test]
fn the_charts_turn_to_the_group_in_hand_and_stay_where_they_are_put() {
    let mut app = running(0.02, false, |_| 0.0);
    let batch = |app: &App| app.sheet().map(|s| app.selection.batch(s));
    assert_eq!(batch(&app), Some(1));
    press_all(&mut app, "b");
    assert_eq!(batch(&app), Some(16));
    let more = crate::tui::scripted::events(&plan(GRID), false, |_| 0.0);
    let at = (more.len() as f64 * 0.02).round() as usize;
    app.update(Message::Events(more[at..at + 1].to_vec()));
    assert_eq!(batch(&app), Some(16));
}

#[test]
fn files_are_laid_over_and_give_verdicts() {
    let mut app = viewing(2);
    assert_eq!(app.compare.files.len(), 2);
    assert_eq!(app.compare.against, 1);
    // Many cells take a while: nothing is compared before someone looks.
    assert!(app.compare.result.is_none() && app.overlay_sheet.is_none());
    press_all(&mut app, "4");
    let told = app.compare.comparison().expect("compared");
    assert_eq!((told.count("faster"), told.cells.len(), told.environment.len()), (24, 24, 1));
    assert!(app.overlay_sheet.is_some());
    let mut app = finished(false);
    app.update(Message::Opened(vec![Err("no such file".to_owned())]));
    assert_eq!(app.notice.as_deref(), Some("no such file"));
    let file = Loaded { name: "a".to_owned(), rows: rows(), note: String::new() };
    app.update(Message::Opened(vec![Ok(Opened::Cells(file))]));
    press_all(&mut app, "4");
    // It is the run itself: the same launch on both sides claims no difference.
    assert_eq!(app.compare.comparison().map(|c| (c.cells.len(), c.count("faster"))), Some((24, 0)));
}

#[test]
fn an_unfinished_run_is_offered_and_gone_on_with_or_forgotten() {
    let run = |name: &str| Unfinished {
        file: PathBuf::from(name),
        choices: Choices { profile: "smoke".to_owned(), ..Choices::default() },
        text: name.to_owned(),
    };
    let mut app = opened();
    app.update(Message::Unfinished(vec![run("a.csv"), run("b.csv")]));
    assert!(press_all(&mut app, "s").is_none() && app.dialog.is_some(), "no answer");
    assert!(matches!(press_all(&mut app, "d"), Some(Effect::Forget(r)) if r.text == "a.csv"));
    assert!(app.notice.as_ref().is_some_and(|n| n.contains("its rows stay in a.csv")), "{:?}", app.notice);
    let mut later = opened();
    later.update(Message::Unfinished(vec![run("a.csv")]));
    assert!(press_all(&mut later, "l").is_none() && later.dialog.is_none() && !later.is_busy());
    let effect = press_all(&mut app, "\n");
    assert!(
        matches!(&effect, Some(Effect::Start(o)) if o.resume == Some(PathBuf::from("b.csv")) && o.choices.profile == "smoke")
    );
}

#[test]
fn what_is_pasted_is_text_and_never_commands() {
    let mut app = opened();
    assert!(app.update(Message::Pasted("q\nq".to_owned())).is_none());
    app.setup.at = FIELDS.iter().position(|f| f.name == "rounds").expect("a field");
    press(&mut app, KeyCode::Enter);
    app.update(Message::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    app.update(Message::Pasted("9\n".to_owned()));
    assert!(matches!(&app.setup.editing, Some(Editing::Text(line)) if line.text() == "9"));
}

/// A key or something else that may happen.
#[derive(Debug, Clone)]
enum Happens {
    Key(KeyCode, bool),
    Begun,
    Events(u8),
    Ended(bool),
    Opened,
    Planned(bool),
    Size(u16, u16),
}

fn anything() -> impl Strategy<Value = Happens> {
    let code = prop_oneof![
        8 => prop::char::range(' ', '~').prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        1 => Just(KeyCode::Esc),
        2 => Just(KeyCode::Enter),
        1 => Just(KeyCode::Tab),
        1 => Just(KeyCode::Backspace),
        1 => Just(KeyCode::Up),
        2 => Just(KeyCode::Down),
        1 => Just(KeyCode::Left),
        1 => Just(KeyCode::Right),
        1 => Just(KeyCode::PageDown),
        1 => Just(KeyCode::PageUp),
        1 => Just(KeyCode::End),
        1 => Just(KeyCode::Delete),
    ];
    prop_oneof![
        30 => (code, prop::bool::weighted(0.1)).prop_map(|(code, control)| Happens::Key(code, control)),
        1 => Just(Happens::Begun),
        4 => any::<u8>().prop_map(Happens::Events),
        1 => any::<bool>().prop_map(Happens::Ended),
        1 => Just(Happens::Opened),
        1 => any::<bool>().prop_map(Happens::Planned),
        4 => (0u16..220, 0u16..80).prop_map(|(w, h)| Happens::Size(w, h)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_happens_makes_it_panic(all in prop::collection::vec(anything(), 0..60)) {
        let plan = plan(GRID);
        let events = crate::tui::scripted::events(&plan, true, |n| f64::from(n % 50));
        let mut told = 0;
        let mut app = opened();
        let mut size = (120, 40);
        for happens in all {
            match happens {
                Happens::Key(code, control) => {
                    let modifiers = if control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
                    app.update(Message::Key(KeyEvent::new(code, modifiers)));
                }
                Happens::Begun => {
                    told = 0;
                    app.update(Message::Begun(Box::new(begun(&plan))));
                }
                Happens::Events(n) => {
                    let end = (told + usize::from(n)).min(events.len());
                    app.update(Message::Events(events[told..end].to_vec()));
                    told = end;
                }
                Happens::Ended(ok) => {
                    app.update(Message::Ended(if ok { Ok(Ended::default()) } else { Err("disk full".to_owned()) }));
                }
                Happens::Opened => {
                    let loaded = Loaded { name: "f".to_owned(), rows: rows(), note: String::new() };
                    app.update(Message::Opened(vec![Ok(Opened::Cells(loaded))]));
                }
                Happens::Planned(ok) => {
                    let planned = if ok { Ok(outlook(&plan)) } else { Err("rounds is 0".to_owned()) };
                    app.update(Message::Planned(Box::new(planned)));
                }
                Happens::Size(w, h) => size = (w.max(1), h.max(1)),
            }
            let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a terminal");
            terminal.draw(|frame| view::render(&app, frame)).expect("drawn");
        }
    }
}
