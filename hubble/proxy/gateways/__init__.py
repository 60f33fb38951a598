"""The registered gateways: admission, names, limits, blocks, balance."""
