"""The commands, a module for each kind; every one is arguments, one library call and one print."""
