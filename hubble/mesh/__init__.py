"""The links between the workers of one proxy, on one machine or on several."""
