//! Strategies: loading, compiling, binding and calling components.

mod aot;
mod bindings;
mod component;
mod engine;
mod imports;
mod text;
