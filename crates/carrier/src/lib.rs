//! Carriers' management APIs. Nothing is here yet: trunks come with the first carrier.
