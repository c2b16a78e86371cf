//! The dashboard: pick, run, watch, understand. A front end on the same runner, events and store as a run without a screen;
//! it knows how a run is shown and steered, not how anything is measured.

mod acts;
mod app;
mod board;
mod compare;
mod dialog;
mod errands;
mod export;
mod files;
mod gauges;
mod grid;
mod host;
mod keys;
mod live_run;
mod message;
mod panics;
mod plot;
mod quality;
mod raster;
#[cfg(test)]
mod scripted;
mod selection;
mod session;
mod setup;
mod terminal;
mod text_line;
mod theme;
mod training;
mod view;
mod worker;

pub(crate) use errands::read;
pub(crate) use host::{Choices, Ended, Facts, Host, Order, Outlook, Unfinished};
pub(crate) use live_run::Begun;
pub(crate) use session::{Left, Opening, Shows, open};
pub(crate) use terminal::release;
pub(crate) use training::{Begun as TrainingBegun, News};
pub(crate) use worker::Relay;

pub use app::App;
pub use keys::Screen;
pub use theme::{ColourWish, Depth, Glyphs, Ground, Theme};
pub use view::render;
