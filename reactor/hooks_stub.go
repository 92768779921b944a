package reactor

func CheckHooks[In, Out any, R Reactor[In, Out]]() error { return nil }
func CheckHooksOf[Out any](v any) error                  { return nil }
