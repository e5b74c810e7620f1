//! Why a client is steered as it is.
