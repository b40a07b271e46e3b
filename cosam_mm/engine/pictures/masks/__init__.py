"""From a config, weights and a video to pictures of COSAM's masks.

    loading     config, checkpoint or seed -> model with COSAM
    inputs      what a pipeline has made of a clip -> frames again
    views       a video through a test pipeline -> its frames, where the network looked
    recorder    models and a video -> MaskedClip: frames and masks
    drawing     MaskedClip -> grid, video, channel bars
"""
