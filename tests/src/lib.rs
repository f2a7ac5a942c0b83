#![doc = "TODO"]
