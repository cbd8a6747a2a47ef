// A Go exporter on client_golang: 20 families of 5 labels, as many series as asked for.
//
//	client_golang -series 100000 -listen 127.0.0.1:0
//
// It prints its address, serves /metrics, and sets every series anew on POST /change.
package main

import (
	"flag"
	"fmt"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const families = 20

var labels = []string{"provider", "target", "project", "bot_environment", "channel"}

type board struct {
	counters []prometheus.Counter
	gauges   []prometheus.Gauge
}

// fill registers half of the families as counters and half as gauges.
func fill(registry *prometheus.Registry, series int) board {
	var shown board
	for family := 0; family < families; family++ {
		var counter *prometheus.CounterVec
		var gauge *prometheus.GaugeVec
		help := "Messages received from end users, from the provider's bucketed counts."
		if family%2 == 0 {
			opts := prometheus.CounterOpts{Name: fmt.Sprintf("chatbot_things_received_%02d_total", family), Help: help}
			counter = prometheus.NewCounterVec(opts, labels)
			registry.MustRegister(counter)
		} else {
			opts := prometheus.GaugeOpts{Name: fmt.Sprintf("chatbot_things_present_%02d", family), Help: help}
			gauge = prometheus.NewGaugeVec(opts, labels)
			registry.MustRegister(gauge)
		}
		for i := 0; i < series/families; i++ {
			values := []string{
				"flowxo", fmt.Sprintf("shop-%04d", i/5), fmt.Sprintf("project-%02d", i/5%50),
				"production", fmt.Sprintf("channel-%d", i%5),
			}
			if counter != nil {
				shown.counters = append(shown.counters, counter.WithLabelValues(values...))
			} else {
				shown.gauges = append(shown.gauges, gauge.WithLabelValues(values...))
			}
		}
	}
	return shown
}

func (shown board) change() {
	for _, counter := range shown.counters {
		counter.Add(float64(rand.Intn(1000000)))
	}
	for _, gauge := range shown.gauges {
		gauge.Set(float64(rand.Intn(1000000)))
	}
}

func main() {
	series := flag.Int("series", 100000, "how many series")
	listen := flag.String("listen", "127.0.0.1:0", "address")
	flag.Parse()

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	shown := fill(registry, *series)
	shown.change()

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	os.Stdout.Close()
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	http.HandleFunc("/change", func(w http.ResponseWriter, _ *http.Request) { shown.change() })
	log.Fatal(http.Serve(listener, nil))
}
