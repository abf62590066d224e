//! Consoles: prompt, messages, picker.
