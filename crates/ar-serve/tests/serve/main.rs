//! The server as clients see it.

mod client;
mod hostile;
mod openapi;
mod page;
mod videos;
