//! Strategy postgresql.
