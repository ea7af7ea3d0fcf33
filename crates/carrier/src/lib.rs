//! Clients of carriers' management APIs. Empty so far.
