"""What a command leaves behind: the folder of a run and its checkpoints.

Nothing is imported here, so that `palate.runs.folder` stays free of torch.
"""
