package worker_test

const crashEnv = "HARVEST_TEST_CRASH_WORKER"

func crashWorker() int { return 0 }
