//! The router as a whole, in process: who gets in, what is refused, what ends up in the buffer.

mod access;
mod alarms;
mod api;
mod audit;
mod batches;
mod board;
mod desk;
mod doors;
mod extras;
mod feedback;
mod german;
mod missed;
mod models;
mod opinions;
mod rig;
mod standing;
mod stream;
mod views;
