"""A trained model in, an answer out. Import the file that you need:

    model_loading           checkpoint, config -> model: the one loader
    action_recognizer       ActionRecognizer: videos -> classes; needs MMAction2
    action_pipeline         the test pipeline of a config, entered with frames
    tracklet_encoder        TrackletEncoder: tracklets -> features
    gallery                 Gallery: search a folder of tracklets for a person
    gallery_faiss           the same search by FAISS
    deployable, export      a model as an ONNX file, or as a program of torch.export
    video_input             what a user hands over as a video -> frames
    inference_optimization  channels last, folded batch norms, bfloat16
    complexity              parameters and multiply-adds
    insertion_points        where plugins can stand in a backbone
"""
