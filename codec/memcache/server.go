package memcache

// Server is the codec of a server's connection: a codec.Codec[Command, Reply]. It is embedded in a reactor, whose methods
// have pointer receivers. The zero value has memcached's limits.
type Server struct {
	Requests
	Replies
}
