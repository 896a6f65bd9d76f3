"""Linear cache: CV residuals and test residuals of sGDML on each label set."""
import sys, os, numpy as np, time
from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.family import *
from flexcalc.models.gdml.kernel import Kernel, prepare
from flexcalc.models.gdml.exact import full_matrix
from flexcalc.models.gdml.symmetry import find
from flexcalc.dataset import Dataset
import warnings; warnings.simplefilter('ignore')
U=0.0433641153
D='/work/shared/data/rmd17/'
def data(mol,split,part,n):
    d=np.load(f'{D}rmd17_{mol}_{part}_{split:02d}.npz')
    return Dataset(d['nuclear_charges'].astype(int),d['coords'][:n],d['energies'][:n]*U,d['forces'][:n]*U)
def base(mol,split,part,name,n):
    f=np.load(f'base/{mol}_{split}_{part}_{name}.npz'); return f['energies'][:n],f['forces'][:n]
from scipy.linalg import cho_factor, cho_solve
from flexcalc.training.crossvalidation import folds
import os
NT=int(os.environ.get('NT',300))
def system(mol, split, sigmas, nfolds=5, ntrain=50, weights=(1.0,.3,.1), transform=None, perms=True, seed=0):
    tr=data(mol,split,'train',ntrain); te=data(mol,split,'test',NT)
    fam=SGDML(angle_weight=weights[1],dihedral_weight=weights[2])
    group=find(tr.numbers,tr.positions,np.random.default_rng(0)) if perms else find(tr.numbers,tr.positions,np.random.default_rng(0),symmetry=False)
    desc=fam._descriptor(tr,group,None)
    if transform is not None: desc=transform(desc,tr,group)
    pts=prepare(desc,np.concatenate([tr.positions,te.positions]),group.permutations,True)
    out={}
    fo=folds(tr.energies,nfolds,np.random.default_rng(seed))
    for s in sigmas:
        k=Kernel(pts,s); u=pts.unknowns
        rows=np.empty((ntrain+NT,u,ntrain,u))
        for r in range(ntrain+NT):
            for st in range(0,ntrain,k.width):
                sl=slice(st,min(st+k.width,ntrain))
                rows[r,:,sl]=k.blocks(r,sl).swapaxes(0,1)
        out[s]=rows
    return tr,te,pts,out,fo,group
def labelcols(mol,split,tr,te,pts,names):
    """(frames, unknowns, sets)"""
    X=[]
    E=np.concatenate([tr.energies,te.energies]);F=np.concatenate([tr.forces,te.forces])
    X.append(pts.labels(E-tr.energies.mean(),F))
    for n in names:
        a=base(mol,split,'train',n,len(tr)); b=base(mol,split,'test',n,NT)
        e=np.concatenate([a[0],b[0]]); f=np.concatenate([a[1],b[1]])
        X.append(pts.labels(e-a[0].mean(),f))
    return np.stack(X,-1)
def fit_predict(rows,Y,train,test,lam):
    """Predictions (test,u,sets) of kriging"""
    u=rows.shape[1]; S=Y.shape[2]
    K=rows[train][:,:,train].reshape(len(train)*u,-1)
    rhs=np.concatenate([Y[train].reshape(-1,S), np.zeros((len(train)*u,1))],1)
    rhs[u-1::u,-1]=1
    K=K.copy(); K[np.diag_indices_from(K)]+=lam
    c=np.linalg.solve(K,rhs) if lam==0 else cho_solve(cho_factor(K),rhs)
    sums=c.reshape(len(train),u,-1)[:,-1].sum(0)
    const=sums[:-1]/sums[-1]
    beta=c[:,:-1]-const*c[:,-1:]
    p=(rows[test][:,:,train].reshape(len(test)*u,-1)@beta).reshape(len(test),u,S)
    p[:,-1]+=const
    return p
if __name__=='__main__':
    names=sys.argv[3].split(',')
    split=int(sys.argv[2])
    for mol in sys.argv[1].split(','):
        t=time.time()
        sig=[float(x) for x in sys.argv[4].split(',')]
        R={}
        for s in sig:
            tr,te,pts,out,fo,g=system(mol,split,[s]); n=len(tr)
            Y=labelcols(mol,split,tr,te,pts,names)
            cv=np.empty_like(Y[:n])
            for f in fo:
                trn=np.setdiff1d(np.arange(n),f)
                cv[f]=Y[f]-fit_predict(out[s],Y,trn,f,1e-10)
            te_r=Y[n:]-fit_predict(out[s],Y,np.arange(n),np.arange(n,n+NT),1e-10)
            R[s]=(cv,te_r)
        # MAE from internal coordinates: rotate back
        mot=pts.motions
        np.savez(f'lab/{mol}_{split}.npz',names=names,sig=sig,cv=[R[s][0] for s in sig],te=[R[s][1] for s in sig],motions=mot)
        print(mol,split,len(g.permutations),time.time()-t,flush=True)
