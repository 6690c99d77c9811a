"""Tests of `trio_rpc.testing`."""
