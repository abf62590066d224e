//! The merge of accounts: current, declared, declared by the last generation.
