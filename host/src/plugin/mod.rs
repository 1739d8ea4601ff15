//! Strategies: loading, compiling, binding and calling components.
