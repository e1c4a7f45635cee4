//! The server as clients meet it.

mod client;
mod hostile;
mod openapi;
mod page;
mod videos;
