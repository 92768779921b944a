module github.com/protoring/protoring/bench/peers/net

go 1.26.0
