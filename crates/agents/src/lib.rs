//! rescore-agents
