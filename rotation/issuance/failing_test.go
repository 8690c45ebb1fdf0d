package issuance_test

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// failingReader forbids one read, after some.
type failingReader struct {
	client.Reader
	left   int
	failed bool
	what   string
}

func (f *failingReader) fails(what any) error {
	if f.left--; f.left != -1 {
		return nil
	}
	f.failed, f.what = true, fmt.Sprintf("%T", what)
	return apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "it", nil)
}

// Get implements client.Reader.
func (f *failingReader) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if err := f.fails(o); err != nil {
		return err
	}
	return f.Reader.Get(ctx, key, o, opts...)
}

// List implements client.Reader.
func (f *failingReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := f.fails(list); err != nil {
		return err
	}
	return f.Reader.List(ctx, list, opts...)
}
