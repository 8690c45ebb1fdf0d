// Package lab runs a real Kubernetes control plane on loopback: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, kwok in the place of
// kubelets, and, when asked for, cert-manager and trust-manager. Tests, the demo
// and the benchmarks use it; hack/lab/cmd/lab puts it on the command line.
//
//	l, err := lab.Start(ctx, lab.Options{CertManager: true})
//	...
//	defer l.Stop()
//	client, err := kubernetes.NewForConfig(l.Config())
//
// # Where the components come from
//
// All of them are one program, built from Go modules by [Build]: ten minutes the
// first time on two cores, milliseconds afterwards. Its sources are the nested
// module hack/lab/controlplane, apart from the main module because
// k8s.io/kubernetes needs a list of replace lines. This package is in the main
// module and needs nothing but client-go, so that any test may import it.
// Ready-made binaries are used for what a folder named by Options.Assets or
// KUBEBUILDER_ASSETS holds.
//
// # Rules
//
// Everything listens on 127.0.0.1, on ports of its own, and keeps its files in a
// folder of its own, so that labs run side by side. The components die with the
// process that started them, however it ends, except in a lab of [Up], which
// [Down] ends.
//
// Pods run the life that their annotations ask for (see [ReadyDelayAnnotation]
// and the others); without any they are Ready within a second or two, run for
// ever, and go at once when deleted. No container ever restarts by itself: a
// test that wants that patches the pod's status.
//
// Linux is what it is run on. Elsewhere on Unix it works, but components outlive
// a starter that was killed.
package lab
