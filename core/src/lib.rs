//! Keeps an Intuit OAuth 2.0 grant alive: a no_std, sans-IO state machine.
