"""The service: HTTP -> engine -> model. Knows `models`, never `training`."""
