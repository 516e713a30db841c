// onnxruntime's native library reports to Microsoft and keeps a database and logs in the user's cache and temporary directories unless
// this is set before it is loaded. Import this first, also in the thread that starts workers: theirs is a copy of the environment.
process.env.ORT_DISABLE_TELEMETRY = '1'
