//! Snapshots of every screen in the states that people meet, and what must hold at every size.

use std::time::{Duration, SystemTime};

use ratatui::{Terminal, backend::TestBackend, crossterm::event::KeyCode, style::Color};

use crate::tui::{
    app::App,
    export::{screenshot, text},
    keys::Screen,
    live_run::Visiting,
    quality::QualityFile,
    scripted::{finished, opened, press, press_all, running, training, viewing},
    theme::{Depth, Glyphs, Theme},
};

fn shown(app: &App, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let drawn = terminal.draw(|frame| super::render(app, frame)).expect("drawn");
    text(drawn.buffer)
}

/// A snapshot of the screen at 80 × 24 and at 120 × 40.
fn pinned(name: &str, app: &App) {
    for size in [(80, 24), (120, 40)] {
        insta::assert_snapshot!(format!("{name}_{}", size.0), shown(app, size));
    }
}

fn on(mut app: App, screen: Screen) -> App {
    app.notice = None;
    app.screen = screen;
    app
}

#[test]
fn setup() {
    pinned("setup", &opened());
    let mut picking = opened();
    picking.setup.at = 4;
    press_all(&mut picking, "\n");
    pinned("setup_picking", &picking);
}

#[test]
fn live() {
    pinned("live_nothing_yet", &on(opened(), Screen::Live));
    pinned("live_running", &on(running(0.6, false, |_| 0.0), Screen::Live));
    pinned("live_noisy", &on(running(0.9, false, |n| if n % 3 == 0 { 41.0 } else { 0.0 }), Screen::Live));
    pinned("live_finished_one_failed", &on(finished(true), Screen::Live));
    let mut paused = on(running(0.4, false, |_| 0.0), Screen::Live);
    press_all(&mut paused, " ");
    pinned("live_paused", &paused);
    insta::assert_snapshot!("live_running_200", shown(&on(running(0.6, false, |_| 0.0), Screen::Live), (200, 60)));
}

#[test]
fn live_of_a_training() {
    pinned("live_training", &training(0.5));
    let mut paused = training(0.5);
    press_all(&mut paused, " ");
    press(&mut paused, KeyCode::Tab);
    insta::assert_snapshot!("live_training_paused_80", shown(&paused, (80, 24)));
    let mut begins = opened();
    begins.begin_training();
    insta::assert_snapshot!("live_training_begins_80", shown(&begins, (80, 24)));
}

#[test]
fn a_long_visit_says_since_when_it_is_timed_and_how_long_it_takes() {
    let mut app = on(running(0.4, false, |_| 0.0), Screen::Live);
    assert!(!shown(&app, (120, 40)).contains("timed since"));
    let run = app.run.as_mut().expect("a run");
    let (since, begun) =
        (SystemTime::UNIX_EPOCH + Duration::from_secs(3723), app.now.saturating_sub(Duration::from_secs(8)));
    run.visiting = Some(Visiting { since, begun, expected: Some(Duration::from_secs(40)), is_known: true });
    for size in [(80, 24), (120, 40)] {
        let text = shown(&app, size);
        assert!(text.contains("timed since 01:02:03 UTC, about 40.0 s; 8 s so far"), "{text}");
    }
}

#[test]
fn an_accelerator_s_memory_is_a_gauge_where_there_is_one() {
    let mut app = on(running(0.4, false, |_| 0.0), Screen::Live);
    assert!(!shown(&app, (120, 40)).contains("gpu"));
    app.gauges.gpu_memory = Some((3 << 30, 12 << 30));
    for size in [(80, 24), (120, 40)] {
        assert!(shown(&app, size).contains("3.00 GiB/12.0 GiB"), "{}", shown(&app, size));
    }
}

#[test]
fn grid() {
    pinned("grid_nothing_yet", &on(opened(), Screen::Grid));
    pinned("grid_running", &on(running(0.6, false, |_| 0.0), Screen::Grid));
    let mut failed = on(finished(true), Screen::Grid);
    press_all(&mut failed, "ooooov");
    pinned("grid_sorted", &failed);
    insta::assert_snapshot!("grid_finished_200", shown(&on(finished(false), Screen::Grid), (200, 60)));
}

#[test]
fn compare_tradeoff_machine_help() {
    pinned("compare_nothing_yet", &on(opened(), Screen::Compare));
    let mut two = viewing(2);
    press_all(&mut two, "4");
    pinned("compare_two_files", &two);
    press_all(&mut two, "d");
    insta::assert_snapshot!("compare_differences_80", shown(&two, (80, 24)));
    pinned("tradeoff_without_quality", &on(opened(), Screen::Tradeoff));
    let mut with = on(opened(), Screen::Tradeoff);
    let file =
        "variant,perplexity,tokens_per_s,state_bytes_pred\nsoftmax,18.0,100,1000\nt2r,19.0,400,10\nelu,21.0,300,20\n";
    let table = crate::store::parse_quality("quality.csv", file.as_bytes()).expect("readable");
    with.tradeoff.show(QualityFile::new("quality.csv".to_owned(), table));
    pinned("tradeoff", &with);
    press(&mut with, KeyCode::Tab);
    insta::assert_snapshot!("tradeoff_memory_80", shown(&with, (80, 24)));
    let mut help = on(opened(), Screen::Live);
    press_all(&mut help, "?");
    pinned("help", &help);
    let mut quit = on(running(0.4, false, |_| 0.0), Screen::Live);
    press_all(&mut quit, "q");
    insta::assert_snapshot!("quit_asks_80", shown(&quit, (80, 24)));
    insta::assert_snapshot!("machine_80", shown(&on(opened(), Screen::Machine), (80, 24)));
}

#[test]
fn too_small_a_terminal_says_so_in_a_line() {
    let app = finished(false);
    for size in [(59, 24), (80, 19), (20, 3)] {
        let text = shown(&app, size);
        assert_eq!(text.lines().filter(|l| !l.is_empty()).count(), 1, "{text}");
    }
    assert!(shown(&app, (59, 24)).contains("60 × 20, this is 59 × 24"));
    for screen in Screen::ALL {
        let text = shown(&on(finished(false), screen), (60, 20));
        assert!(text.contains(" t2r ") && text.contains("quit"), "{text}");
    }
}

#[test]
fn without_colour_there_is_none_and_without_unicode_there_is_ascii() {
    for screen in Screen::ALL {
        let mut app = on(finished(true), screen);
        app.theme = Theme { depth: Depth::Mono, glyphs: Glyphs::Ascii, ..app.theme };
        let buffer = screenshot(&app, (120, 40).into());
        assert!(buffer.content.iter().all(|c| c.fg == Color::Reset && c.bg == Color::Reset), "{screen:?}");
        assert!(text(&buffer).is_ascii(), "{}", text(&buffer));
        app.theme.depth = Depth::Sixteen;
        let buffer = screenshot(&app, (120, 40).into());
        assert!(buffer.content.iter().all(|c| !matches!(c.fg, Color::Rgb(..) | Color::Indexed(_))));
    }
}

#[test]
fn in_ascii_every_sign_of_the_map_is_still_there() {
    let mut app = on(finished(false), Screen::Grid);
    app.theme = Theme { depth: Depth::Mono, glyphs: Glyphs::Ascii, ..app.theme };
    let text = text(&screenshot(&app, (120, 40).into()));
    // Softmax at 64 and batch 1 takes 2,000 + 110 · 64 ns, elu 9,000.
    assert!(text.contains("1.00x") || text.contains("1.01x"), "{text}");
    insta::assert_snapshot!("grid_ascii_120", text);
}

#[test]
fn the_footer_names_keys_of_the_screen_and_always_help_and_quit() {
    for screen in Screen::ALL {
        for width in [60, 80, 200] {
            let text = shown(&on(finished(false), screen), (width, 24));
            let footer = text.lines().last().unwrap_or_default();
            assert!(footer.contains("? help") && footer.contains("q quit"), "{footer}");
        }
    }
}

#[test]
fn the_help_names_every_key_of_the_screen() {
    for screen in Screen::ALL {
        let mut app = on(opened(), screen);
        app.help = true;
        let text = shown(&app, (120, 80));
        for binding in crate::tui::keys::TABLE.iter().filter(|b| b.holds_on(screen)) {
            assert!(text.contains(binding.what), "{} on {}:\n{text}", binding.what, screen.title());
        }
    }
}
