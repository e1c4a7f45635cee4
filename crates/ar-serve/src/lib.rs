//! Serves an AR-Diffusion model over HTTP: an API, and a page that shows videos as they are denoised.
//!
//! [`Server::bind`] listens, and [`Server::run`] serves until a [`Stopper`] stops it. One thread computes, with one
//! copy of the model; videos wait in a queue, and [`limits`] keep one client from taking too much from the others. The
//! API describes itself at `/v1/openapi.json`.
//!
//! ```
//! use ar_pipeline::Pipeline;
//! use ar_serve::{Server, ServerOptions};
//! # use burn::tensor::Device;
//! # let device = Device::flex();
//!
//! let pipeline = Pipeline::built_in(&device)?;
//! let server = Server::bind(&pipeline, &ServerOptions::default())?;
//! println!("{}", server.url()); // http://127.0.0.1:PORT/?token=TOKEN
//! let stopper = server.stopper();
//! # stopper.stop();
//! server.run()?;
//! # Ok::<(), ar_serve::ServeError>(())
//! ```
#![warn(missing_docs)]

mod api;
mod connections;
mod download;
mod error;
mod events;
pub mod limits;
mod metrics;
mod openapi;
mod options;
mod pages;
mod server;
mod token;
mod upload;
mod video;
mod videos;
mod worker;

pub use error::ServeError;
pub use server::{Server, ServerOptions, Stopper};
pub use token::Token;

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
