//! Guests for the tests of the gate.
