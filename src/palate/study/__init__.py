"""What was learnt: figures read off the engine, never computed again."""
